//! Edits to net.hpp and net.cpp: Net has a WeightQuantizer, which replaces a layer's weights by quantised ones during its
//! Forward and Backward.

use std::path::Path;

use crate::patch::error::Error;
use crate::patch::source_text::Text;
use crate::patch::template;

/// Makes the edits of net.hpp: the include and the member.
///
/// # Errors
/// When a place is not found.
pub(crate) fn edit_header(path: &Path, text: &mut Text) -> Result<(), Error> {
    let missing = |wanted: &str| Error::NoPlace { path: path.into(), wanted: wanted.into() };
    let member =
        text.find_line(|line| line.contains("(Net);")).ok_or_else(|| missing("DISABLE_COPY_AND_ASSIGN(Net)"))?;
    text.insert_lines(member, &template::render("net/member.hpp", &[])?);
    let include = last_plain_include(text).ok_or_else(|| missing("an include of Caffe's own headers"))?;
    text.insert_lines(include, "#include \"caffe/util/weight_quantizer.hpp\"\n");
    Ok(())
}

/// The offset behind the last include of a Caffe header that is under no `#if` but the include guard.
fn last_plain_include(text: &Text) -> Option<usize> {
    let mut depth = 0;
    let mut guard = None;
    let mut last = None;
    for (at, line) in text.lines() {
        let directive = line.trim_start();
        if directive.starts_with("#if") {
            depth += 1;
        } else if directive.starts_with("#endif") {
            depth -= 1;
        } else if directive.starts_with("#include") && *guard.get_or_insert(depth) == depth {
            last = if directive.contains("\"caffe/") { Some(text.end_of_logical_line(at)) } else { last };
        }
    }
    last
}

/// Makes the edits of net.cpp: at the end of Init, and around each layer's Forward and Backward.
///
/// # Errors
/// When a place is not found.
pub(crate) fn edit_source(path: &Path, text: &mut Text) -> Result<(), Error> {
    let missing = |wanted: &str| Error::NoPlace { path: path.into(), wanted: wanted.into() };
    for (call, before) in [("->Backward(", "net/backward.cpp"), ("->Forward(", "net/forward.cpp")] {
        surround(text, call, before)?
            .ok_or_else(|| missing(&format!("the call layers_[i]{call}…) as a statement of its own")))?;
    }

    let end = end_of_init(text).ok_or_else(|| missing("the statement that logs \"Network initialization done.\""))?;
    let param = init_parameter(text).ok_or_else(|| missing("Net<Dtype>::Init(const NetParameter& …)"))?;
    text.insert_lines(end, &template::render("net/init.cpp", &[("param", param)])?);
    Ok(())
}

/// The start of the statement that logs the end of Init; its message may be on the statement's second line.
fn end_of_init(text: &Text) -> Option<usize> {
    let is_log = |line: &str| line.trim_start().starts_with("LOG");
    let mut previous = (0, "");
    for (at, line) in text.lines() {
        if line.contains("Network initialization done.") {
            let continued = is_log(previous.1) && !previous.1.contains(';');
            return if is_log(line) { Some(at) } else { continued.then_some(previous.0) };
        }
        previous = (at, line);
    }
    None
}

/// The name of Init's NetParameter argument.
fn init_parameter(text: &Text) -> Option<String> {
    let (_, rest) = text.as_str().split_once("Net<Dtype>::Init(const NetParameter&")?;
    let name: String = rest.trim_start().chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
    (!name.is_empty()).then_some(name)
}

/// Inserts lines before and after each statement that calls a layer. `None` if there is no such statement, or if one is
/// the body of an `if` or `else` without braces.
fn surround(text: &mut Text, call: &str, before: &'static str) -> Result<Option<()>, Error> {
    let call = format!("layers_[i]{call}");
    let calls: Vec<usize> = text.as_str().match_indices(&call).map(|(at, _)| at).collect();
    let mut found = None;
    // From the end of the file to its start, so that the offsets still to come stay valid.
    for at in calls.into_iter().rev() {
        let start = text.start_of_line(at);
        let line = &text.as_str()[start..];
        if line.trim_start().starts_with("//") {
            continue;
        }
        let indent = line[..line.len() - line.trim_start().len()].to_owned();
        if !begins_statement(text, start) {
            return Ok(None);
        }

        let Some(end) = text.as_str()[at..].find(';').map(|semicolon| at + semicolon) else { return Ok(None) };
        let end = text.end_of_logical_line(end);
        text.insert_lines(end, &template::render("net/after.cpp", &[("indent", indent.clone())])?);
        text.insert_lines(start, &template::render(before, &[("indent", indent)])?);
        found = Some(());
    }
    Ok(found)
}

/// Whether a statement begins at a line: the code before it ends a statement or label, or opens or closes a block.
fn begins_statement(text: &Text, start: usize) -> bool {
    let before = text.as_str()[..start].lines().rev().map(|line| line.split("//").next().unwrap_or("").trim());
    let code = before.filter(|line| !line.is_empty() && !line.starts_with('#'));
    code.map(|line| line.ends_with([';', '{', '}', ':']) || line.ends_with("*/")).next().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inserted_lines_have_the_indentation_of_the_call() {
        let source = "void Net<Dtype>::Init(const NetParameter& p) {\n  for (;;) {\n    x();\n  }\n  LOG_IF(INFO, root)\n      << \"Network initialization done.\";\n}\nvoid F() {\n\
                      \tDtype l = layers_[i]->Forward(\n\t  b, t);\n      layers_[i]->Backward(t);\n";
        let mut text = Text::from_bytes(source.as_bytes());
        edit_source(Path::new("net.cpp"), &mut text).unwrap();
        let result = text.as_str();
        assert!(result.contains("  }\n  if (p.has_weight_quant_param()) {\n"), "{result}");
        assert!(result.contains("\tif (weight_quantizer_) { weight_quantizer_->BeforeForward(i); }\n\tDtype l"));
        assert!(result.contains("t);\n\tif (weight_quantizer_) { weight_quantizer_->After(i); }\n"));
        assert!(
            result.contains("      if (weight_quantizer_) { weight_quantizer_->BeforeBackward(i); }\n      layers_")
        );
    }

    #[test]
    fn a_call_under_an_if_without_braces_is_refused() {
        let source = "void Net<Dtype>::Init(const NetParameter& p) {\n  LOG(INFO) << \"Network initialization done.\";\n}\n\
                      {\n  l = layers_[i]->Forward(b);\n  if (need)\n    layers_[i]->Backward(t);\n}\n";
        let error = edit_source(Path::new("net.cpp"), &mut Text::from_bytes(source.as_bytes())).unwrap_err();
        assert!(error.to_string().contains("as a statement of its own"), "{error}");
    }

    #[test]
    fn the_include_is_added_outside_of_conditions() {
        let source = "#ifndef N\n#define N\n#include <map>\n#include \"caffe/layer.hpp\"\n#ifdef X\n\
                      #include \"caffe/x.hpp\"\n#endif\n  DISABLE_COPY_AND_ASSIGN(Net);\n#endif\n";
        let mut text = Text::from_bytes(source.as_bytes());
        edit_header(Path::new("net.hpp"), &mut text).unwrap();
        assert!(text.as_str().contains("layer.hpp\"\n#include \"caffe/util/weight_quantizer.hpp\"\n#ifdef X"));
    }
}
