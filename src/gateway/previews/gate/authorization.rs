//! Whether those who once had a ticket still may see a preview: asked again every few minutes.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::ticket::{TicketError, TicketHolder, Tickets};
use crate::gateway::previews::{preview::Preview, refusal::Refusal};

/// Most answers that are remembered.
const KEPT: usize = 10_000;
/// An answer that nobody asked for again is forgotten after so many times its validity.
const FORGOTTEN_AFTER: u32 = 10;

/// When each holder of a session was last found to be allowed, host by host.
pub struct Authorizations {
    tickets: Arc<dyn Tickets>,
    every: Duration,
    allowed_at: Mutex<HashMap<(String, TicketHolder), Instant>>,
}

impl Authorizations {
    /// Asks there, so often.
    pub fn new(tickets: Arc<dyn Tickets>, every: Duration) -> Self {
        Self { tickets, every, allowed_at: Mutex::default() }
    }

    /// Refuses a holder who may no longer. While nobody can say, who was allowed before still is.
    pub async fn check(&self, holder: &TicketHolder, preview: &Preview) -> Result<(), Refusal> {
        let key = (preview.host.clone(), holder.clone());
        let before = self.lock().get(&key).copied();
        if before.is_some_and(|at| at.elapsed() < self.every) {
            return Ok(());
        }
        match self.tickets.may_see(holder, preview).await {
            Ok(()) => {
                self.remember(key);
                Ok(())
            }
            Err(TicketError::Invalid) => {
                self.lock().remove(&key);
                Err(Refusal::Private)
            }
            Err(TicketError::Unavailable(error)) => {
                tracing::warn!(%error, host = preview.host, "it can not be asked who may see a preview");
                before.map(|_| ()).ok_or(Refusal::TicketsUnavailable)
            }
        }
    }

    fn remember(&self, key: (String, TicketHolder)) {
        let mut allowed_at = self.lock();
        if allowed_at.len() >= KEPT {
            allowed_at.retain(|_, at| at.elapsed() < self.every * FORGOTTEN_AFTER);
        }
        if allowed_at.len() < KEPT {
            allowed_at.insert(key, Instant::now());
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(String, TicketHolder), Instant>> {
        self.allowed_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
