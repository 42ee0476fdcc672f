//! A plan as a unified diff.

use similar::TextDiff;

use super::plan::{Change, Plan};
use super::text::Text;
use super::tree::Entry;

/// The plan's changes as `patch -p1` reads them; binary files and links are named only. The bytes are those of the files.
pub fn unified_diff(plan: &Plan) -> Vec<u8> {
    plan.changes.iter().flat_map(diff_one).collect()
}

fn diff_one(change: &Change) -> Vec<u8> {
    let path = change.path.display();
    let new = match &change.after {
        Entry::File { bytes, .. } if !bytes.contains(&0) => bytes,
        Entry::File { bytes, .. } => {
            return format!("Binary file {path} would be new: {} bytes\n", bytes.len()).into_bytes();
        }
        Entry::Link(target) => return format!("Link {path} would point to {}\n", target.display()).into_bytes(),
    };
    let (old_name, old) = match &change.before {
        Some(Entry::File { bytes, .. }) => (format!("a/{path}"), bytes.as_slice()),
        _ => ("/dev/null".to_owned(), [].as_slice()),
    };
    let (old, new) = (Text::from_bytes(old), Text::from_bytes(new));
    let diff = TextDiff::from_lines(old.as_str(), new.as_str());
    let text = diff.unified_diff().context_radius(3).header(&old_name, &format!("b/{path}")).to_string();
    // Back from characters to the files' bytes; the path is ASCII in every Caffe tree.
    Text::from_bytes(&[]).with_content(text).to_bytes()
}
