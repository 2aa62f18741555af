//! What keeps a Workspace from being as wanted: a stable reason, a message, a hint, and whether
//! trying again can help.

use crate::{
    api::condition,
    backend::{self, BackendError},
    provision::ProvisionError,
};

/// One obstacle.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    /// The stable word for programs.
    pub reason: &'static str,
    /// What happened, for people.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// The condition that is False because of it.
    pub condition: &'static str,
    /// Whether the operator goes on trying.
    pub retry: Retry,
}

/// Whether trying again can help.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Retry {
    /// It can: the operator does so by itself, ever more slowly.
    Backoff,
    /// It can not: the operator waits for a change of the spec or of the retry annotation.
    OnChange,
}

impl Problem {
    /// A problem that the operator keeps trying to get over.
    pub fn transient(condition: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), hint: None, condition, retry: Retry::Backoff }
    }

    /// A problem that only somebody else can solve.
    pub fn permanent(condition: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), hint: None, condition, retry: Retry::OnChange }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Message and hint in one line.
    pub fn text(&self) -> String {
        match &self.hint {
            Some(hint) => format!("{} ({hint})", self.message),
            None => self.message.clone(),
        }
    }

    /// Whether the operator keeps trying by itself.
    pub fn is_transient(&self) -> bool {
        self.retry == Retry::Backoff
    }
}

impl From<BackendError> for Problem {
    fn from(error: BackendError) -> Self {
        use backend::Reason as R;
        let (condition, retry, hint) = match error.reason {
            R::Unreachable => (
                condition::BACKEND_READY,
                Retry::Backoff,
                "the operator goes on by itself as soon as the host answers",
            ),
            R::ImageNotFound => (
                condition::CONTAINER_READY,
                Retry::Backoff,
                "check spec.docker.image and pullPolicy of the Template, or load the image on the host",
            ),
            R::ImagePullDenied => (
                condition::CONTAINER_READY,
                Retry::Backoff,
                "name a Secret with a log-in for the registry in spec.docker.imagePullSecrets of the Template",
            ),
            R::ImagePullFailed => {
                (condition::CONTAINER_READY, Retry::Backoff, "check that the host reaches the registry")
            }
            R::AddressesExhausted => (
                condition::NETWORK_READY,
                Retry::Backoff,
                "enlarge networkRange of the backend, or delete workspaces on this host",
            ),
            R::NumberTaken => (
                condition::CONTAINER_READY,
                Retry::Backoff,
                "somebody else took the VMID; the operator takes another",
            ),
            R::NumberInUse => (
                condition::CONTAINER_READY,
                Retry::OnChange,
                "choose another spec.backend.proxmox.vmid, or have the administrator mark the container for this workspace and set adoptExisting",
            ),
            R::NumbersExhausted => (
                condition::CONTAINER_READY,
                Retry::Backoff,
                "enlarge vmids of the backend, or delete workspaces",
            ),
            R::Unauthorized => (
                condition::BACKEND_READY,
                Retry::Backoff,
                "check token of the backend in the operator's configuration; berth backend check NAME says more",
            ),
            R::Forbidden => (
                condition::BACKEND_READY,
                Retry::Backoff,
                "give the token's role this privilege on this path; berth backend check NAME lists all that are needed",
            ),
            R::TemplateMissing => (
                condition::TEMPLATE_RESOLVED,
                Retry::Backoff,
                "the Template's vmid must be a container template of the cluster",
            ),
            R::Locked => (
                condition::CONTAINER_READY,
                Retry::Backoff,
                "the operator goes on by itself when the lock is gone",
            ),
            R::HostSshNotConfigured => (
                condition::TUN_CONFIGURED,
                Retry::Backoff,
                "give the template the device, as root on its node: pct set VMID --dev0 /dev/net/tun; or set hostSsh of the backend in the operator's configuration",
            ),
            R::OutOfSpace => (condition::CONTAINER_READY, Retry::Backoff, "free disk space on the host"),
            R::NotOwned | R::Conflict => (
                condition::CONTAINER_READY,
                Retry::OnChange,
                "something else uses this name or id on the host; nothing was touched",
            ),
            R::Unsupported => (
                condition::CONTAINER_READY,
                Retry::OnChange,
                "see the host's requirements in the documentation",
            ),
            R::SshUnreachable => (
                condition::BACKEND_READY,
                Retry::Backoff,
                "check that an SSH server runs there, and that the operator reaches its port",
            ),
            R::SshAuthFailed => (
                condition::BACKEND_READY,
                Retry::Backoff,
                "put the operator's public key into authorized_keys of root there: in a container's template, or let the operator do it with hostSsh of the backend",
            ),
            R::HostKeyChanged => (
                condition::BACKEND_READY,
                Retry::OnChange,
                "if the key was renewed on purpose, kubectl berth reset-host-key forgets the one before; else somebody stands in between",
            ),
            R::NotFound | R::NotRunning | R::Failed => {
                (condition::CONTAINER_READY, Retry::Backoff, "the operator looks again and goes on by itself")
            }
        };
        Self {
            reason: error.reason.as_str(),
            message: error.message,
            hint: Some(hint.to_owned()),
            condition,
            retry,
        }
    }
}

impl Problem {
    /// A failure while user and environment were set up, or the repository was cloned.
    pub fn provision(condition: &'static str, error: ProvisionError) -> Self {
        if let Some(cause) = error.cause {
            return cause.into();
        }
        Self {
            reason: error.reason.as_str(),
            message: error.message,
            hint: error.hint.map(str::to_owned),
            condition,
            retry: if error.retryable { Retry::Backoff } else { Retry::OnChange },
        }
    }
}
