//! What can go wrong on the way by SSH.

use std::io;

use crate::backend::{BackendError, Reason};

/// Why something could not be done by SSH.
#[derive(Debug, thiserror::Error)]
pub enum SshError {
    /// No connection came about.
    #[error("{0}")]
    Connect(#[from] io::Error),
    /// The server took too long.
    #[error("no answer in time while {0}")]
    Slow(&'static str),
    /// One of the operator's own keys can not be read.
    #[error("the private key can not be used: {0}")]
    KeyUnusable(String),
    /// The server accepts none of the keys.
    #[error("{host} does not accept the key of {user}")]
    AuthFailed {
        /// The server.
        host: String,
        /// The user that wanted to log in.
        user: String,
    },
    /// The server shows another key than it did before.
    #[error("the host key of {host} has changed: {expected} is expected, {seen} was shown")]
    HostKeyChanged {
        /// The server.
        host: String,
        /// Fingerprint of the key that is expected.
        expected: String,
        /// Fingerprint of the key that was shown.
        seen: String,
    },
    /// The server shows a key that is not listed.
    #[error("the host key of {host} is not the one in the known hosts file: {seen} was shown")]
    HostKeyUnknown {
        /// The server.
        host: String,
        /// Fingerprint of the key that was shown.
        seen: String,
    },
    /// The file with the host keys says nothing of the server, or can not be read.
    #[error("{0}")]
    KnownHosts(io::Error),
    /// The connection broke while a command ran. The command may have taken effect.
    #[error("the connection broke")]
    Lost,
    /// The server refused to run a command.
    #[error("the server refuses to run commands")]
    Refused,
    /// Every session of the connection was in use for too long.
    #[error("too many commands at once")]
    Busy,
    /// Something else in the protocol.
    #[error("{0}")]
    Protocol(#[from] russh::Error),
}

impl SshError {
    fn reason(&self) -> Reason {
        match self {
            Self::Connect(_) | Self::Slow(_) | Self::Lost | Self::Protocol(_) => Reason::SshUnreachable,
            Self::AuthFailed { .. } | Self::KeyUnusable(_) => Reason::SshAuthFailed,
            Self::HostKeyChanged { .. } | Self::HostKeyUnknown { .. } | Self::KnownHosts(_) => {
                Reason::HostKeyChanged
            }
            Self::Refused | Self::Busy => Reason::Failed,
        }
    }

    /// The error of a backend, with the place in front.
    pub(super) fn at(self, place: &impl std::fmt::Display) -> BackendError {
        BackendError::new(self.reason(), format!("ssh {place}: {self}"))
    }
}

/// As an error of the connection that somebody else's protocol was to run over.
impl From<SshError> for io::Error {
    fn from(error: SshError) -> Self {
        match error {
            SshError::Connect(error) => error,
            SshError::AuthFailed { .. } => {
                Self::new(io::ErrorKind::PermissionDenied, format!("ssh: {error}"))
            }
            SshError::Slow(_) => Self::new(io::ErrorKind::TimedOut, format!("ssh: {error}")),
            other => Self::other(format!("ssh: {other}")),
        }
    }
}
