//! Tickets: what `kubectl berth open` puts into the address of a private preview.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::gateway::previews::preview::Preview;

/// Who gives and takes tickets.
#[async_trait]
pub trait Tickets: Send + Sync {
    /// Uses a ticket up. It must have been given for the preview of this host.
    async fn redeem(&self, ticket: &str, host: &str) -> Result<TicketHolder, TicketError>;

    /// Whether who had a ticket may see a preview, now.
    async fn may_see(&self, holder: &TicketHolder, preview: &Preview) -> Result<(), TicketError>;
}

/// Who had a ticket. Their cookie says it, under our signature.
#[derive(Clone, Debug, Default, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub struct TicketHolder {
    /// Their name in the cluster.
    pub user: String,
    /// Their uid there, where they have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// Their groups there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
}

/// Why a ticket was not taken.
#[derive(Debug, thiserror::Error)]
pub enum TicketError {
    /// It was never given, is used up, too old, or for another preview; or who had it may not.
    #[error("the ticket is not valid")]
    Invalid,
    /// It can not be looked at now.
    #[error("tickets can not be checked: {0}")]
    Unavailable(String),
}
