//! Counters of the proxy.

use std::sync::Arc;

use http::StatusCode;
use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// Counters of the proxy. No name of an object is a label.
pub struct PreviewMetrics {
    classes: [IntCounter; 5],
    websockets: IntGauge,
}

impl PreviewMetrics {
    /// Registers them once.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let requests = IntCounterVec::new(
            Opts::new("berth_preview_requests_total", "Requests to previews by the class of the status code"),
            &["class"],
        )?;
        let websockets = IntGauge::new("berth_preview_websockets", "Open WebSockets of previews")?;
        registry.register(Box::new(requests.clone()))?;
        registry.register(Box::new(websockets.clone()))?;
        let classes = ["1xx", "2xx", "3xx", "4xx", "5xx"].map(|class| requests.with_label_values(&[class]));
        Ok(Self { classes, websockets })
    }

    /// A request was answered.
    pub fn answered(&self, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100).saturating_sub(1);
        if let Some(counter) = self.classes.get(class) {
            counter.inc();
        }
    }

    /// A WebSocket is open until the result is dropped.
    pub fn websocket_opened(self: &Arc<Self>) -> OpenWebSocket {
        self.websockets.inc();
        OpenWebSocket(self.websockets.clone())
    }
}

/// An open WebSocket, counted.
pub struct OpenWebSocket(IntGauge);

impl Drop for OpenWebSocket {
    fn drop(&mut self) {
        self.0.dec();
    }
}
