//! Agents without a workspace: they dial, wait and answer as the real ones do, with real tokens,
//! and have no processes.

use std::{convert::Infallible, sync::Arc};

use axum::{
    Json, Router,
    body::Body,
    routing::{get, put},
};
use berth_agent::link::{Backoff, Dialer, Proxies, trust};
use berth_link::{
    transport,
    wire::{AgentInfo, Event, PROTOCOL, process::Processes},
};
use bytes::Bytes;
use futures::{StreamExt, stream};
use http::Request;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use tokio::{sync::watch, task::JoinSet};
use tower::ServiceExt;

/// Agents that keep a link each until this is dropped.
pub struct Agents {
    gateways: [String; 1],
    tls: Arc<rustls::ClientConfig>,
    running: JoinSet<()>,
    /// Counts up when all connections are cut.
    cuts: watch::Sender<u32>,
}

impl Agents {
    /// None yet; they will dial this gateway.
    pub fn of(gateway: &str) -> Self {
        let tls = trust(None).expect("no certificate authorities");
        let cuts = watch::Sender::new(0);
        Self { gateways: [gateway.to_owned()], tls, running: JoinSet::new(), cuts }
    }

    /// Starts one.
    pub fn start(&mut self, token: &str) {
        let dialer = Dialer::new(&self.gateways, token, Arc::clone(&self.tls), Proxies::new(None));
        self.running.spawn(keep(dialer.expect("it can not dial"), self.cuts.subscribe()));
    }

    /// Cuts all connections at once.
    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }
}

async fn keep(mut dialer: Dialer, mut cuts: watch::Receiver<u32>) {
    let mut wait = Backoff::default();
    let router = router();
    loop {
        let asked_for = match dialer.dial().await {
            Ok(stream) => {
                cuts.mark_unchanged();
                // As after a minute with a link, so that the waits are those of a working day.
                wait.reset();
                let answer = |request: Request<Incoming>| router.clone().oneshot(request.map(Body::new));
                let served = transport::server().serve_connection(TokioIo::new(stream), service_fn(answer));
                tokio::select! {
                    _ = served => {}
                    _ = cuts.changed() => {}
                }
                None
            }
            Err(refusal) => refusal.retry_after(),
        };
        tokio::time::sleep(wait.next(asked_for)).await;
    }
}

fn router() -> Router {
    Router::new()
        .route("/v1/info", get(async || Json(info())))
        .route("/v1/events", get(events))
        .route("/v1/processes", put(async |_: Bytes| {}))
}

fn info() -> AgentInfo {
    AgentInfo {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        protocol: PROTOCOL,
        supervisor_version: None,
        build: None,
        failed_update: None,
        boot_id: "bench".to_owned(),
        started_at: Timestamp::now(),
        user: "dev".to_owned(),
    }
}

/// What an agent without processes tells: once, and then nothing.
async fn events() -> Body {
    let mut line = serde_json::to_vec(&Event::Processes(Processes::default())).unwrap_or_default();
    line.push(b'\n');
    Body::from_stream(stream::iter([Ok::<_, Infallible>(Bytes::from(line))]).chain(stream::pending()))
}
