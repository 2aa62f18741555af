//! Tickets: what `kubectl berth open` puts into the address of a private preview.

use async_trait::async_trait;

/// Who gives and takes tickets.
#[async_trait]
pub trait Tickets: Send + Sync {
    /// Uses a ticket up. It must have been given for the preview of this host.
    async fn redeem(&self, ticket: &str, host: &str) -> Result<TicketHolder, TicketError>;
}

/// Who had a ticket.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TicketHolder {
    /// Their name in the cluster.
    pub user: String,
}

/// Why a ticket was not taken.
#[derive(Debug, thiserror::Error)]
pub enum TicketError {
    /// It was never given, is used up, too old, or for another preview.
    #[error("the ticket is not valid")]
    Invalid,
    /// It can not be looked at now.
    #[error("tickets can not be checked: {0}")]
    Unavailable(String),
}
