//! Values that are lists of `key=value`, divided by commas: interfaces, volumes, features.

/// The pairs of a value, in their order. The first may be without a key.
pub(super) fn pairs(text: &str) -> impl Iterator<Item = (Option<&str>, &str)> {
    text.split(',').map(str::trim).filter(|pair| !pair.is_empty()).map(|pair| match pair.split_once('=') {
        Some((key, value)) => (Some(key.trim()), value.trim()),
        None => (None, pair),
    })
}

/// Whether a text can stand on either side of `=` without becoming another pair.
pub(super) fn is_plain(text: &str) -> bool {
    text.chars().all(|char| char.is_ascii_graphic() && char != ',')
}
