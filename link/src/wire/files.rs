//! Files of a workspace.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Which file or folder is meant.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct FileQuery {
    /// Its path: absolute, or below `/workspace`.
    pub path: String,
    /// Reading: start at this byte.
    pub offset: Option<u64>,
    /// Reading: at most so many bytes.
    pub limit: Option<u64>,
    /// Writing: permission bits as octal digits; absent: those of the file that is replaced, else
    /// 644.
    pub mode: Option<String>,
    /// Writing: only where the file's entity tag is this one; `*`: only where there is none yet.
    pub if_match: Option<String>,
    /// Deleting: folders with all that is in them.
    pub recursive: bool,
}

/// What is in a folder, by name.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Listing {
    /// The entries.
    pub entries: Vec<Entry>,
    /// Whether there are more than the 10,000 that one answer holds.
    pub truncated: bool,
}

/// One entry of a folder.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: EntryKind,
    /// Its size in bytes.
    pub size: u64,
    /// Permission bits as octal digits.
    pub mode: String,
    /// When its content last changed.
    pub modified_at: Option<Timestamp>,
    /// Where a symbolic link points.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

/// What an entry is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum EntryKind {
    /// A file with content.
    File,
    /// A folder.
    Folder,
    /// A symbolic link.
    Link,
    /// A socket, pipe or device.
    Other,
}
