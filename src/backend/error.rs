//! What can go wrong on a host, in words that are the same for every backend.

use std::fmt;

/// A failed action of a backend.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct BackendError {
    /// Which failure it is.
    pub reason: Reason,
    /// The backend's own words, on one line and without secrets.
    pub message: String,
}

impl BackendError {
    /// An error with the backend's own words.
    pub fn new(reason: Reason, message: impl fmt::Display) -> Self {
        let message = message.to_string();
        let line = message.split_whitespace().collect::<Vec<_>>().join(" ");
        Self { reason, message: line }
    }
}

/// The kinds of failure a backend tells apart.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Reason {
    /// The host does not answer, or not in time. The action may have taken effect.
    Unreachable,
    /// The registry, or the host where pulling is not allowed, does not have the image.
    ImageNotFound,
    /// The registry refuses to hand out the image.
    ImagePullDenied,
    /// The image could not be fetched for another reason, such as a registry that does not answer.
    ImagePullFailed,
    /// The container, or what the action was about, is not there.
    NotFound,
    /// Something with this name is there already, and it is not ours.
    Conflict,
    /// The number that was reserved for the container was taken by somebody else in between.
    NumberTaken,
    /// The number that was asked for belongs to something that is not this workspace's.
    NumberInUse,
    /// Every number of the configured range is in use.
    NumbersExhausted,
    /// The credentials for the backend are refused.
    Unauthorized,
    /// The credentials lack a privilege.
    Forbidden,
    /// The template to clone is not on the cluster, or is none.
    TemplateMissing,
    /// The container is locked by something on its host.
    Locked,
    /// The host has to be reached by SSH for this, and no way is configured.
    HostSshNotConfigured,
    /// The mark on the host names another owner: nothing was done.
    NotOwned,
    /// The range of addresses for networks is used up.
    AddressesExhausted,
    /// The host has no room left.
    OutOfSpace,
    /// The configuration asks for something the host can not do.
    Unsupported,
    /// Somebody does not answer by SSH, or not in time. The action may have taken effect.
    SshUnreachable,
    /// The operator's SSH key is not accepted, or can not be used.
    SshAuthFailed,
    /// The SSH server shows another host key than the one that is expected. Nothing was done.
    HostKeyChanged,
    /// The container is not running, so nothing can be done inside it.
    NotRunning,
    /// The host refused or failed for a reason of its own.
    Failed,
}

impl Reason {
    /// The stable word for metrics and status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "BackendUnreachable",
            Self::ImageNotFound => "ImageNotFound",
            Self::ImagePullDenied => "ImagePullDenied",
            Self::ImagePullFailed => "ImagePullFailed",
            Self::NotFound => "NotFound",
            Self::Conflict => "NameConflict",
            Self::NumberTaken => "VmidTaken",
            Self::NumberInUse => "VmidInUse",
            Self::NumbersExhausted => "VmidRangeExhausted",
            Self::Unauthorized => "BackendUnauthorized",
            Self::Forbidden => "BackendPermissionDenied",
            Self::TemplateMissing => "TemplateImageMissing",
            Self::Locked => "ContainerLocked",
            Self::HostSshNotConfigured => "HostSshNotConfigured",
            Self::NotOwned => "NotOwned",
            Self::AddressesExhausted => "AddressesExhausted",
            Self::OutOfSpace => "OutOfSpace",
            Self::Unsupported => "Unsupported",
            Self::SshUnreachable => "SshUnreachable",
            Self::SshAuthFailed => "SshAuthFailed",
            Self::HostKeyChanged => "HostKeyChanged",
            Self::NotRunning => "ContainerNotRunning",
            Self::Failed => "BackendFailed",
        }
    }
}
