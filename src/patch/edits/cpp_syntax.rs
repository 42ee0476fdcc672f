//! The part of C++'s syntax that the edits need: tokens, which protobuf's schemas share, and preprocessor conditions.

/// Words, numbers and single punctuation marks with their offsets; comments and strings are skipped.
pub(crate) fn tokens(source: &str) -> impl Iterator<Item = (usize, &str)> {
    let bytes = source.as_bytes();
    let mut at = 0;
    std::iter::from_fn(move || {
        while at < bytes.len() {
            let rest = &source[at..];
            let start = at;
            if rest.starts_with("//") {
                at += rest.find('\n').unwrap_or(rest.len());
            } else if let Some(comment) = rest.strip_prefix("/*") {
                at += comment.find("*/").map_or(rest.len(), |end| end + 4);
            } else if bytes[at] == b'"' || bytes[at] == b'\'' {
                let quote = bytes[at];
                at += 1;
                while at < bytes.len() && bytes[at] != quote && bytes[at] != b'\n' {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
                at = (at + 1).min(bytes.len());
            } else if bytes[at].is_ascii_alphanumeric() || bytes[at] == b'_' {
                at += rest.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count();
                return Some((start, &source[start..at]));
            } else {
                at += rest.chars().next().map_or(1, char::len_utf8);
                if bytes[start].is_ascii_punctuation() {
                    return Some((start, &source[start..at]));
                }
            }
        }
        None
    })
}

/// The preprocessor conditions that are open at an offset, outermost first, each from its `#if` to the last `#elif` or
/// `#else` before the offset.
pub(crate) fn open_conditions(source: &str, offset: usize) -> Vec<&str> {
    let mut open: Vec<std::ops::Range<usize>> = Vec::new();
    let mut at = 0;
    for line in source.split_inclusive('\n') {
        let end = at + line.len();
        if end > offset {
            break;
        }
        match directive(line) {
            Some(("if" | "ifdef" | "ifndef", _)) => open.push(at..end),
            Some(("else" | "elif", _)) => {
                if let Some(condition) = open.last_mut() {
                    condition.end = end;
                }
            }
            Some(("endif", _)) => {
                open.pop();
            }
            _ => {}
        }
        at = end;
    }
    open.into_iter().map(|condition| &source[condition]).collect()
}

/// The name of a preprocessor line's directive and what follows it.
pub(crate) fn directive(line: &str) -> Option<(&str, &str)> {
    let rest = line.trim_start().strip_prefix('#')?.trim_start();
    let end = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
    Some((&rest[..end], rest[end..].trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_skip_comments_and_strings_and_stray_quotes() {
        let source = "#error don't\nA /* B */ + \"C\" // D\n\"E\\\nF\" 0.5";
        let found: Vec<&str> = tokens(source).map(|(_, token)| token).collect();
        assert_eq!(found, ["#", "error", "don", "A", "+", "0", ".", "5"]);
    }

    #[test]
    fn conditions_are_open_from_if_to_endif() {
        let source = "#ifdef A\n#if B > 1\nx\n#else\ny\n#endif\nz\n#endif\n";
        let at = |mark: &str| open_conditions(source, source.find(mark).unwrap());
        assert_eq!(at("x"), ["#ifdef A\n", "#if B > 1\n"]);
        assert_eq!(at("y"), ["#ifdef A\n", "#if B > 1\nx\n#else\n"]);
        assert_eq!(at("z"), ["#ifdef A\n"]);
        assert!(open_conditions(source, source.len()).is_empty());
    }
}
