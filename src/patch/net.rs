//! Edits to Net, which shows layers their weights quantised around Forward and Backward.

use std::path::Path;

use super::error::Error;
use super::makefile::find;
use super::template;
use super::text::Text;

/// Plans the edits of net.hpp: the include and the member.
///
/// # Errors
/// When a place is not found.
pub fn edit_header(path: &Path, text: &mut Text) -> Result<(), Error> {
    let missing = |wanted: &str| Error::NoPlace { path: path.into(), wanted: wanted.into() };
    let member = find(text, |line| line.trim_end() == "DISABLE_COPY_AND_ASSIGN(Net);" || line.contains("(Net);"))
        .ok_or_else(|| missing("DISABLE_COPY_AND_ASSIGN(Net)"))?;
    text.insert_lines(member, &template::render("net/member.hpp", &[])?);
    let include = text
        .lines()
        .filter(|(_, line)| line.starts_with("#include \"caffe/"))
        .last()
        .map(|(at, _)| text.end_of_logical_line(at))
        .ok_or_else(|| missing("an include of Caffe's own headers"))?;
    text.insert_lines(include, "#include \"caffe/util/weight_quantizer.hpp\"\n");
    Ok(())
}

/// Plans the edits of net.cpp: at the end of Init, and around each layer's Forward and Backward.
///
/// # Errors
/// When a place is not found.
pub fn edit_source(path: &Path, text: &mut Text) -> Result<(), Error> {
    let missing = |wanted: &str| Error::NoPlace { path: path.into(), wanted: wanted.into() };
    for (call, before) in [("->Backward(", "net/backward.cpp"), ("->Forward(", "net/forward.cpp")] {
        surround(text, call, before)?.ok_or_else(|| missing(&format!("the call layers_[i]{call}…)")))?;
    }
    let done = find(text, |line| line.contains("Network initialization done."))
        .ok_or_else(|| missing("the line that logs \"Network initialization done.\""))?;
    // The message may stand on the second line of its statement.
    let start = text.as_str()[..done].rfind(';').map_or(done, |end| text.end_of_logical_line(end));
    text.insert_lines(start, &template::render("net/init.cpp", &[])?);
    Ok(())
}

/// Puts lines before and after the statement that calls a layer; `None` where there is not exactly one.
fn surround(text: &mut Text, call: &str, before: &'static str) -> Result<Option<()>, Error> {
    let call = format!("layers_[i]{call}");
    let mut found = text.as_str().match_indices(&call).map(|(at, _)| at);
    let (Some(at), None) = (found.next(), found.next()) else { return Ok(None) };
    let Some(end) = text.as_str()[at..].find(';').map(|semicolon| at + semicolon) else { return Ok(None) };
    let start = text.start_of_line(at);
    let line = &text.as_str()[start..];
    let indent = line[..line.len() - line.trim_start().len()].to_owned();
    let end = text.end_of_logical_line(end);
    text.insert_lines(end, &template::render("net/after.cpp", &[("indent", indent.clone())])?);
    text.insert_lines(start, &template::render(before, &[("indent", indent)])?);
    Ok(Some(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_surrounded_with_their_own_indentation() {
        let source = "void Init() {\n  x();\n  LOG_IF(INFO, root)\n      << \"Network initialization done.\";\n}\n\
                      \tDtype l = layers_[i]->Forward(\n\t  b, t);\n      layers_[i]->Backward(t);\n";
        let mut text = Text::from_bytes(source.as_bytes());
        edit_source(Path::new("net.cpp"), &mut text).unwrap();
        let result = text.as_str();
        assert!(result.contains("  x();\n  if (in_param.has_weight_quant_param()) {\n"), "{result}");
        assert!(result.contains("\tif (weight_quantizer_) { weight_quantizer_->BeforeForward(i); }\n\tDtype l"));
        assert!(result.contains("t);\n\tif (weight_quantizer_) { weight_quantizer_->After(i); }\n"));
        assert!(
            result.contains("      if (weight_quantizer_) { weight_quantizer_->BeforeBackward(i); }\n      layers_")
        );
    }
}
