//! The compatibility edit of CUDA_ARCH in a Makefile.config that was written for another CUDA version.

use std::ops::Range;

use super::make_syntax::{assigns, sets};
use crate::patch::host::nvcc::Cuda;
use crate::patch::source_text::Text;

/// The edit's name among the compatibility edits.
pub(crate) const NAME: &str = "cuda-architectures";
/// Why Caffe needs it.
pub(crate) const REASON: &str = "nvcc refuses some of the architectures that CUDA_ARCH lists";

/// Drops from CUDA_ARCH the architectures that this nvcc refuses, and returns whether there were any. If none is left,
/// the list becomes the one that suits the machine.
pub(crate) fn drop_refused(text: &mut Text, cuda: &Cuda) -> bool {
    if cuda.known.is_empty() || sets(text, "CPU_ONLY", "1") {
        return false;
    }
    let lines: Vec<usize> =
        text.lines().filter(|(_, line)| assigns(line.trim_start(), "CUDA_ARCH")).map(|(at, _)| at).collect();

    let mut edited = false;
    // From the end of the file to its start, so that the offsets still to come stay valid.
    for at in lines.into_iter().rev() {
        let line = at..text.end_of_logical_line(at);
        if let Some(kept) = without_refused(&text.as_str()[line.clone()], cuda) {
            text.replace(line, &kept.replace("\r\n", "\n"));
            edited = true;
        }
    }
    edited
}

/// The assignment without the refused architectures; `None` if it has none.
fn without_refused(line: &str, cuda: &Cuda) -> Option<String> {
    let all = entries(line);
    let is_kept = |entry: &Range<usize>| {
        architecture(&line[entry.clone()]).is_none_or(|architecture| cuda.known.contains(&architecture))
    };
    if all.iter().all(is_kept) {
        return None;
    }

    let (first, last) = (all.first()?, all.last()?);
    let mut kept = String::new();
    for (i, entry) in all.iter().enumerate().filter(|(_, entry)| is_kept(entry)) {
        if !kept.is_empty() {
            kept += &line[all[i - 1].end..entry.start];
        }
        kept += &line[entry.clone()];
    }

    let (head, tail) = (&line[..first.start], &line[last.end..]);
    if !kept.is_empty() {
        return Some(format!("{head}{kept}{tail}"));
    }
    // A line that only appends to the list can go; one that sets the list needs a value.
    Some(if head.contains("+=") { String::new() } else { format!("{head}{}{tail}", cuda.gencode()) })
}

/// The byte range of each `-gencode arch=compute_…,code=…` in a line.
fn entries(line: &str) -> Vec<Range<usize>> {
    const OPTION: &str = "-gencode";
    let code = &line[..line.find('#').unwrap_or(line.len())];
    let entry = |(start, _)| {
        let after = start + OPTION.len();
        let value = after + code[after..].find(|c: char| c != '=' && !c.is_whitespace())?;
        let length = code[value..].find(char::is_whitespace).unwrap_or(code.len() - value);
        Some(start..value + length)
    };
    code.match_indices(OPTION).filter_map(entry).collect()
}

/// The 60 of `arch=compute_60,…`; `None` for a name with a letter, such as 90a: nvcc's list is kept as plain numbers, so
/// it cannot tell whether nvcc refuses that one.
fn architecture(entry: &str) -> Option<u32> {
    let rest = entry.split("arch=compute_").nth(1)?;
    rest.split(',').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::patch::host::nvcc::HostCompiler;

    fn edited(source: &str, known: &[u32]) -> Option<String> {
        let (root, version, compiler) = ("/c".into(), "12.0".into(), HostCompiler::Default);
        let cuda = Cuda { root, version, known: known.into(), gpus: vec![75], compiler };
        let mut text = Text::from_bytes(source.as_bytes());
        drop_refused(&mut text, &cuda).then(|| String::from_utf8(text.to_bytes()).unwrap())
    }

    const STOCK: &str = "X := 1\nCUDA_ARCH := -gencode arch=compute_20,code=sm_20 \\\n\t\t-gencode arch=compute_20,code=sm_21 \\\n\
                         \t\t-gencode arch=compute_50,code=sm_50 \\\n\t\t-gencode arch=compute_61,code=sm_61 \\\n\
                         \t\t-gencode arch=compute_61,code=compute_61\nBLAS := open\n";

    #[test]
    fn only_architectures_that_nvcc_refuses_are_dropped() {
        let expected = "X := 1\nCUDA_ARCH := -gencode arch=compute_50,code=sm_50 \\\n\t\t-gencode arch=compute_61,code=sm_61 \\\n\
                        \t\t-gencode arch=compute_61,code=compute_61\nBLAS := open\n";
        assert_eq!(edited(STOCK, &[50, 61, 75]).as_deref(), Some(expected));
        assert_eq!(edited(expected, &[50, 61, 75]), None);
        assert_eq!(edited(STOCK, &[]), None);
        assert_eq!(edited(&format!("CPU_ONLY := 1\n{STOCK}"), &[50]), None);
        let last = edited(&STOCK.replace('\n', "\r\n"), &[50, 75]).unwrap();
        assert_eq!(last, "X := 1\r\nCUDA_ARCH := -gencode arch=compute_50,code=sm_50\r\nBLAS := open\r\n");
        assert_eq!(edited("CUDA_ARCH := -gencode=arch=compute_90a,code=sm_90a -arch=sm_20\n", &[50]), None);
    }

    #[test]
    fn a_list_with_nothing_left_becomes_the_machines_own() {
        let all = "-gencode arch=compute_75,code=sm_75 \\\n\t\t-gencode arch=compute_75,code=compute_75";
        assert_eq!(edited(STOCK, &[75, 90]).unwrap(), format!("X := 1\nCUDA_ARCH := {all}\nBLAS := open\n"));
        let source = "CUDA_ARCH := -gencode arch=compute_75,code=sm_75\nCUDA_ARCH += -gencode=arch=compute_20,code=sm_20\nX := 1\n";
        assert_eq!(
            edited(source, &[75]).as_deref(),
            Some("CUDA_ARCH := -gencode arch=compute_75,code=sm_75\nX := 1\n")
        );
    }
}
