//! Removing layers from a net's text.

use std::collections::HashSet;

use crate::prototxt::text::{Document, Edits, Field, Id, removal};

/// Removes layers, which may be fields of their own or items of a list: `layer { … }` or `layer: [{ … }, { … }]`.
pub(crate) fn remove_layers(document: &Document, net: Field<'_>, layers: &HashSet<Id>, edits: &mut Edits) {
    for field in net.children().filter(|field| field.name() == b"layer") {
        if layers.contains(&field.id()) {
            edits.replace(removal(document, field), Vec::new());
            continue;
        }

        // In a list, the last item that stays must lose its comma if the items behind it are removed.
        let mut last_kept: Option<Field<'_>> = None;
        let mut last_is_removed = false;
        for item in field.children().take_while(|item| item.name().is_empty()) {
            last_is_removed = layers.contains(&item.id());
            match last_is_removed {
                true => edits.replace(removal(document, item), Vec::new()),
                false => last_kept = Some(item),
            }
        }

        if let (true, Some(kept)) = (last_is_removed, last_kept) {
            // A comment between the item and its comma stays, so only the comma's own byte is removed.
            let end = kept.range().end;
            if end > kept.value_range().end {
                edits.replace(end - 1..end, Vec::new());
            }
        }
    }
}
