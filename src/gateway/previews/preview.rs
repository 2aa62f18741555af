//! What the proxy knows of a preview.

use std::sync::Arc;

use jiff::Timestamp;

use crate::backend::BodyId;

/// The previews there are, by host name. Asked on every request, so it answers from memory.
pub trait PreviewDirectory: Send + Sync {
    /// The preview of this host name: in lower case, without port or final dot.
    fn look_up(&self, host: &str) -> Option<Arc<Preview>>;
}

/// A preview.
#[derive(Clone, Debug, PartialEq)]
pub struct Preview {
    /// Its host name, in lower case.
    pub host: String,
    /// The workspace that its dev server runs in.
    pub workspace: BodyId,
    /// The port that the dev server listens on.
    pub port: u16,
    /// Who may see it.
    pub access: Access,
    /// From then on it is no longer shown.
    pub expires_at: Option<Timestamp>,
    /// Which host the dev server sees.
    pub host_header: HostHeader,
    /// Namespace of the workspace.
    pub namespace: String,
    /// Name of the workspace.
    pub workspace_name: String,
    /// Name of the dev server.
    pub devserver: String,
    /// Whether it can be shown now.
    pub availability: Availability,
}

/// Who may see a preview.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Access {
    /// Everybody who knows its address.
    Link,
    /// Everybody who knows its password.
    Password {
        /// The bcrypt hash of the password; nobody gets in while it is not known.
        bcrypt_hash: Option<String>,
    },
    /// Everybody who has redeemed a ticket.
    Private,
}

/// Which host the dev server sees.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum HostHeader {
    /// `localhost` and its port. Dev servers refuse names that they do not know.
    #[default]
    Rewrite,
    /// The host name of the preview.
    Preserve,
}

/// Whether a preview can be shown.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Availability {
    /// It can.
    Available,
    /// Its workspace is suspended.
    Suspended,
    /// It is being started; says how far that is.
    Starting(String),
}

/// Is told of traffic.
pub trait Traffic: Send + Sync {
    /// Somebody uses a preview of this workspace. Told at most once a second for each; must not
    /// block.
    fn touched(&self, id: BodyId);
}
