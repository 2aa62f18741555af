//! Why a container could not be made ready, in words that are the same wherever it runs.

use crate::backend::{BackendError, ExecOutput, Reason};

use super::redact::presentable;

/// A failed step inside a container.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct ProvisionError {
    /// Which failure it is.
    pub reason: ProvisionReason,
    /// The line of the failing command that tells most, without secrets.
    pub message: String,
    /// What to do about it.
    pub hint: Option<&'static str>,
    /// Whether trying again may help although nobody changed anything.
    pub retryable: bool,
    /// The backend's error, where the container could not be reached.
    #[source]
    pub cause: Option<BackendError>,
}

impl ProvisionError {
    /// An error with its hint and whether to try again as the reason has them.
    pub fn new(reason: ProvisionReason, message: impl AsRef<str>) -> Self {
        Self {
            reason,
            message: presentable(message.as_ref()),
            hint: reason.hint(),
            retryable: reason.is_retryable(),
            cause: None,
        }
    }

    /// A script of the setup that ended with an error.
    pub(super) fn of_script(output: &ExecOutput) -> Self {
        let line = output.last_line();
        let reason = match output.exit_code {
            137 => ProvisionReason::OutOfMemory,
            124 => ProvisionReason::TimedOut,
            _ if line.contains("No space left on device") => ProvisionReason::OutOfSpace,
            126 | 127 if line.contains("/bin/sh") => ProvisionReason::ShellMissing,
            _ => ProvisionReason::SetupFailed,
        };
        let message = match line {
            "" => format!("the command ended with code {} and said nothing", output.exit_code),
            line => line.to_owned(),
        };
        Self::new(reason, message)
    }

    /// The message with the hint after it.
    pub fn advice(&self) -> String {
        match self.hint {
            Some(hint) => format!("{} ({hint})", self.message),
            None => self.message.clone(),
        }
    }
}

impl From<BackendError> for ProvisionError {
    fn from(cause: BackendError) -> Self {
        Self {
            cause: Some(cause.clone()),
            ..Self::new(ProvisionReason::Backend(cause.reason), cause.message)
        }
    }
}

/// The kinds of failure inside a container that are told apart.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ProvisionReason {
    /// The container could not be worked in at all.
    Backend(Reason),
    /// A variable of the environment has a name or value that no shell can hold.
    EnvironmentInvalid,
    /// The name of the user is none.
    UserInvalid,
    /// The image has no `/bin/sh`.
    ShellMissing,
    /// User, environment, certificates or git identity could not be set up.
    SetupFailed,
    /// A step did not end in time.
    TimedOut,
    /// A process was killed for want of memory.
    OutOfMemory,
    /// A file of the setup did not fit.
    OutOfSpace,
    /// There is no package of this name.
    PackageNotFound,
    /// Packages could not be fetched or installed.
    PackagesUnavailable,
    /// The guest has no package manager that is known.
    PackageManagerMissing,
    /// The server refused the credentials, or wants some.
    GitAuthFailed,
    /// The SSH server's key is unknown or another one than it was.
    GitHostKeyMismatch,
    /// The server has no such repository, or does not show it.
    GitRepositoryNotFound,
    /// The address is none of a repository.
    GitUrlInvalid,
    /// The server could not be reached, or the connection broke.
    GitNetwork,
    /// The image lacks git, or ssh where the repository needs it.
    GitMissing,
    /// Something else is in the workspace folder already.
    WorkspaceNotEmpty,
    /// The repository did not fit.
    GitOutOfSpace,
    /// Git failed for a reason of its own.
    GitFailed,
}

impl ProvisionReason {
    /// The stable word for conditions and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Backend(reason) => reason.as_str(),
            Self::EnvironmentInvalid => "EnvironmentInvalid",
            Self::UserInvalid => "UserInvalid",
            Self::ShellMissing => "ShellMissing",
            Self::SetupFailed => "SetupFailed",
            Self::TimedOut => "SetupTimedOut",
            Self::OutOfMemory => "OutOfMemory",
            Self::OutOfSpace => "OutOfSpace",
            Self::PackageNotFound => "PackageNotFound",
            Self::PackagesUnavailable => "PackagesUnavailable",
            Self::PackageManagerMissing => "PackageManagerMissing",
            Self::GitAuthFailed => "GitAuthFailed",
            Self::GitHostKeyMismatch => "GitHostKeyMismatch",
            Self::GitRepositoryNotFound => "GitRepositoryNotFound",
            Self::GitUrlInvalid => "GitUrlInvalid",
            Self::GitNetwork => "GitNetwork",
            Self::GitMissing => "GitMissing",
            Self::WorkspaceNotEmpty => "WorkspaceNotEmpty",
            Self::GitOutOfSpace => "GitOutOfSpace",
            Self::GitFailed => "GitFailed",
        }
    }

    fn is_retryable(self) -> bool {
        match self {
            Self::Backend(reason) => {
                matches!(
                    reason,
                    Reason::Unreachable | Reason::SshUnreachable | Reason::NotRunning | Reason::Failed
                )
            }
            Self::GitNetwork | Self::TimedOut | Self::PackagesUnavailable => true,
            _ => false,
        }
    }

    fn hint(self) -> Option<&'static str> {
        match self {
            Self::PackageNotFound => Some("check spec.proxmox.packages against the OS template's release"),
            Self::PackagesUnavailable => {
                Some("check that containers reach their package mirror, and proxy and DNS of the backend")
            }
            Self::PackageManagerMissing => Some("use an OS template of Debian or Ubuntu"),
            Self::GitAuthFailed => {
                Some("check the token or SSH key of the repository, and that it may read it")
            }
            Self::GitHostKeyMismatch => Some("check repository.knownHosts against the server's host keys"),
            Self::GitRepositoryNotFound => {
                Some("check the URL; a private repository also looks like this without the right credentials")
            }
            Self::GitUrlInvalid => Some("use https://HOST/PATH, ssh://USER@HOST/PATH or USER@HOST:PATH"),
            Self::GitMissing => Some("use an image that has git, and an SSH client for SSH repositories"),
            Self::WorkspaceNotEmpty => {
                Some("nothing was touched; move the files away, or leave the repository out")
            }
            Self::GitOutOfSpace | Self::OutOfSpace => Some("make room on the host, or set repository.depth"),
            Self::OutOfMemory => Some("raise resources.memory"),
            Self::ShellMissing => Some("use an image that has a POSIX shell"),
            _ => None,
        }
    }
}
