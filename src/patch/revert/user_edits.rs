//! Takes the patch's lines out of a file that the user has edited since, and keeps the user's edits.
//!
//! The patch inserts and replaces blocks of whole lines. In the user's file each block is found again by its text, not by
//! its place, so an edit right beside it does no harm. A block that the user has changed is a conflict.

use similar::{Algorithm, DiffOp, capture_diff_slices};

/// A block of the patched file, and the lines of the original that it took the place of.
struct Block<'a> {
    patched: Vec<&'a [u8]>,
    original: Vec<&'a [u8]>,
}

/// The user's file without the patch: `current` was made from `patched`, and that from `original`. `None` if a block of the
/// patch was changed, moved into one with another or removed in part.
pub(super) fn without_patch(original: &[u8], patched: &[u8], current: &[u8]) -> Option<Vec<u8>> {
    let (original, patched, current) = (lines(original), lines(patched), lines(current));
    let blocks = blocks(&original, &patched)?;

    // The block that begins at each line of the user's file, and whether the line is part of one. Longer blocks come
    // first, since a shorter one may also be a part of them.
    let mut starts: Vec<Option<&Block>> = vec![None; current.len()];
    let mut is_taken = vec![false; current.len()];
    let mut first_same = 0;
    while let Some(block) = blocks.get(first_same) {
        let same: Vec<&Block> = blocks[first_same..].iter().take_while(|next| next.patched == block.patched).collect();
        let length = block.patched.len();
        let is_free = |at: usize| !is_taken[at..at + length].contains(&true);
        let found = (0..current.len()).filter(|&at| current[at..].starts_with(&block.patched) && is_free(at));
        let found: Vec<usize> = found.collect();
        if found.len() != same.len() {
            return None;
        }
        for (at, block) in found.into_iter().zip(&same) {
            starts[at] = Some(block);
            is_taken[at..at + length].fill(true);
        }
        first_same += same.len();
    }

    let mut result: Vec<&[u8]> = Vec::with_capacity(current.len());
    let mut at = 0;
    while at < current.len() {
        match starts[at] {
            Some(block) => {
                result.extend(&block.original);
                at += block.patched.len();
            }
            None => {
                result.push(current[at]);
                at += 1;
            }
        }
    }
    Some(result.concat())
}

/// The blocks of the patch, the longest first, those with the same text one after the other in their order in the file. `None` if there is
/// one without lines, which could not be found again.
fn blocks<'a>(original: &[&'a [u8]], patched: &[&'a [u8]]) -> Option<Vec<Block<'a>>> {
    let mut blocks = Vec::new();
    for op in capture_diff_slices(Algorithm::Myers, original, patched) {
        if !matches!(op, DiffOp::Equal { .. }) {
            let block =
                Block { patched: patched[op.new_range()].to_vec(), original: original[op.old_range()].to_vec() };
            let is_blank = block.patched.iter().all(|line| line.trim_ascii().is_empty());
            if is_blank {
                return None;
            }
            blocks.push(block);
        }
    }
    // A stable sort, so that blocks of the same text stay in their order.
    blocks.sort_by(|a, b| b.patched.len().cmp(&a.patched.len()).then_with(|| a.patched.cmp(&b.patched)));
    Some(blocks)
}

fn lines(text: &[u8]) -> Vec<&[u8]> {
    text.split_inclusive(|&byte| byte == b'\n').collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORIGINAL: &str = "a\nnext: 7\nb\ncall;\nc\ncall;\nd\ncall;\n";
    const PATCHED: &str = "a\nnext: 8\nb\nnew 1\n\nnew 2\ncall;\nafter\nc\ncall;\nafter\nd\nafter\nbefore\ncall;\n";

    fn reverted(current: &str) -> Option<String> {
        let result = without_patch(ORIGINAL.as_bytes(), PATCHED.as_bytes(), current.as_bytes())?;
        Some(String::from_utf8(result).unwrap())
    }

    #[test]
    fn an_unedited_file_becomes_the_original() {
        assert_eq!(reverted(PATCHED).as_deref(), Some(ORIGINAL));
    }

    #[test]
    fn edits_beside_the_blocks_are_kept() {
        let edit = |from: &str, to: &str| reverted(&PATCHED.replace(from, to));
        let expected = |from: &str, to: &str| Some(ORIGINAL.replace(from, to));
        assert_eq!(edit("a\n", "A\nmine\n"), expected("a\n", "A\nmine\n"));
        assert_eq!(edit("b\n", ""), expected("b\n", ""));
        assert_eq!(edit("call;\n", "call(1);\n"), expected("call;\n", "call(1);\n"));
        assert_eq!(edit("c\n", "mine\nc\n"), expected("c\n", "mine\nc\n"));
        assert_eq!(edit("d\n", ""), expected("d\n", ""));
    }

    #[test]
    fn edits_of_a_block_are_a_conflict() {
        for (from, to) in [("new 1\n", "new 3\n"), ("next: 8", "next: 9"), ("after\nc", "c"), ("d\n", "after\nd\n")] {
            assert_ne!(PATCHED.replace(from, to), PATCHED);
            assert_eq!(reverted(&PATCHED.replace(from, to)), None, "{from:?}");
        }
    }
}
