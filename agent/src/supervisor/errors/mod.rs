//! Errors in the output of a process: which lines are some, and which are the same.

mod book;
mod detect;
mod fingerprint;

pub use book::Book;
pub use detect::{Detector, Found};

/// The beginning of a text, at most so many bytes.
fn beginning(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}
