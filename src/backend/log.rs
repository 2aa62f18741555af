//! The log of a container: what its processes printed, the init and the main process among them.

use std::time::Duration;

use bytes::Bytes;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};

use super::BackendError;

/// Which part of a container's log is wanted.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct LogRequest {
    /// At most so many lines from the end.
    pub tail: u32,
    /// Only what was printed within this time.
    pub since: Option<Duration>,
    /// Go on with what is printed, until the container ends.
    pub follow: bool,
    /// Put the time before each line, as RFC 3339 has it.
    pub timestamps: bool,
}

/// Parts of a log as they come: whole lines or not. It ends when there is no more to come; an
/// error is the last item.
pub type LogStream = BoxStream<'static, Result<Bytes, BackendError>>;
