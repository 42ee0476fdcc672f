//! The part of make's syntax that the edits need: assignments, continued lines and conditionals.

use crate::patch::source_text::Text;

/// Whether a line assigns or appends to a variable.
pub(crate) fn assigns(line: &str, variable: &str) -> bool {
    line.strip_prefix(variable).is_some_and(|rest| {
        let rest = rest.trim_start();
        ["=", ":=", "+=", "?="].iter().any(|operator| rest.starts_with(operator))
    })
}

/// Whether some line sets a variable to exactly this value.
pub(crate) fn sets(text: &Text, variable: &str, value: &str) -> bool {
    let is_value =
        |line: &str| line.split('#').next().and_then(|line| line.split('=').nth(1)).map(str::trim) == Some(value);
    text.find_line(|line| assigns(line.trim_start(), variable) && is_value(line)).is_some()
}

/// Whether an assignment appends, with `+=`.
pub(crate) fn appends(line: &str) -> bool {
    line.split('=').next().is_some_and(|head| head.ends_with('+'))
}

/// The offsets of the lines that match, outside of any conditional.
pub(crate) fn unconditional(text: &Text, matches: impl Fn(&str) -> bool) -> Vec<usize> {
    lines_with_depth(text).filter(|&(_, line, depth)| depth == 0 && matches(line)).map(|(at, ..)| at).collect()
}

/// The offset behind the logical line at `from`, or behind the outermost conditional around that line.
pub(crate) fn end_of_statement(text: &Text, from: usize) -> usize {
    let outside = lines_with_depth(text).find(|&(at, _, depth)| at >= from && depth == 0);
    outside.map_or(text.as_str().len(), |(at, ..)| text.end_of_logical_line(at))
}

/// Each line with its offset and the number of conditionals (`ifeq … endif` and the like) open behind it.
fn lines_with_depth(text: &Text) -> impl Iterator<Item = (usize, &str, i32)> {
    text.lines().scan(0, |depth, (at, line)| {
        match line.split_whitespace().next().unwrap_or("") {
            "ifeq" | "ifneq" | "ifdef" | "ifndef" => *depth += 1,
            "endif" => *depth -= 1,
            _ => {}
        }
        Some((at, line, *depth))
    })
}
