//! Whether a visitor who was let in may stay: a WebSocket, a stream of events or a long download
//! outlives the moment at which that was decided.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::{
    gate::{Gate, Pass},
    has_expired,
    preview::{Preview, PreviewDirectory},
};

/// One visitor's stay at a preview.
pub struct Stay {
    /// The previews there are.
    pub directory: Arc<dyn PreviewDirectory>,
    /// Who let the visitor in.
    pub gate: Arc<Gate>,
    /// The preview as it was then.
    pub entered: Arc<Preview>,
    /// What the visitor was let in with.
    pub pass: Pass,
    /// So often it is looked.
    pub look_every: Duration,
}

impl Stay {
    /// Waits until the visitor may stay no longer.
    pub async fn ended(&self) {
        let mut looks = interval_at(Instant::now() + self.look_every, self.look_every);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            if !self.goes_on().await {
                return;
            }
        }
    }

    async fn goes_on(&self) -> bool {
        let Some(now) = self.directory.look_up(&self.entered.host) else { return false };
        !has_expired(&now)
            && now.access == self.entered.access
            && (now.workspace, now.port) == (self.entered.workspace, self.entered.port)
            && self.gate.is_still_good(&self.pass, &now).await
    }
}
