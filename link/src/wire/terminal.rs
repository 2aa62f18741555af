//! Named terminals, which stay when their viewers leave.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A size in characters.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Size {
    /// Width.
    pub cols: u16,
    /// Height.
    pub rows: u16,
}

impl Default for Size {
    fn default() -> Self {
        Self { cols: 120, rows: 30 }
    }
}

/// How a viewer joins a terminal. The terminal is made when there is none of this name; its name
/// has the form of a [`super::process::ProcessId`].
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct AttachQuery {
    /// Everything from this byte offset on; absent: all that is kept.
    pub since: Option<u64>,
    /// Id of the terminal that `since` is about, from [`Position`]. When it is another one by
    /// now, all that is kept is sent.
    pub terminal: Option<String>,
    /// Width of the viewer's window.
    pub cols: Option<u16>,
    /// Height of the viewer's window.
    pub rows: Option<u16>,
    /// Only join one that is there; 404 where there is none.
    pub existing: bool,
}

/// The first frame to a viewer, and again whenever output was dropped because the viewer reads
/// too slowly: from where the output that follows goes on.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Position {
    /// Id of this terminal: another one of the same name has another.
    pub terminal: String,
    /// Byte offset of the next output frame. More than `since` when the bytes between are no
    /// longer kept.
    pub offset: u64,
}

/// The terminals of a workspace.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Terminals {
    /// Each of them, by name.
    pub terminals: Vec<Terminal>,
}

/// One terminal.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Terminal {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Bytes of output so far.
    pub offset: u64,
    /// How many look at it now.
    pub viewers: u32,
    /// Its size: that of the viewer who resized last.
    pub size: Size,
}
