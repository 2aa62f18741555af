//! The operator's own HTTP: `/healthz`, `/readyz` and `/metrics`.

use std::{net::SocketAddr, sync::Arc};

use axum::{Router, extract::State, http::StatusCode, response::IntoResponse, routing::get};
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

/// Whether the operator can work; otherwise what it waits for.
pub type Readiness = Result<(), String>;

#[derive(Clone)]
struct Served {
    metrics: Arc<Metrics>,
    readiness: watch::Receiver<Readiness>,
}

/// Serves until `stop` is cancelled. Returns the address that was bound.
pub async fn serve(
    listen: SocketAddr,
    metrics: Arc<Metrics>,
    readiness: watch::Receiver<Readiness>,
    stop: CancellationToken,
) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind(listen)
        .await
        .map_err(|error| anyhow::anyhow!("listen: can not bind {listen}: {error}"))?;
    let address = listener.local_addr()?;
    let router = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(render))
        .with_state(Served { metrics, readiness });
    tokio::spawn(async move {
        let served = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await;
        if let Err(error) = served {
            tracing::error!(%error, "the health server ended");
        }
    });
    Ok(address)
}

async fn readyz(State(served): State<Served>) -> impl IntoResponse {
    match served.readiness.borrow().clone() {
        Ok(()) => (StatusCode::OK, "ok\n".to_owned()),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}

async fn render(State(served): State<Served>) -> impl IntoResponse {
    match served.metrics.render() {
        Ok(text) => (StatusCode::OK, [("content-type", "text/plain; version=0.0.4")], text),
        Err(error) => {
            tracing::error!(%error, "metrics can not be rendered");
            (StatusCode::INTERNAL_SERVER_ERROR, [("content-type", "text/plain; version=0.0.4")], Vec::new())
        }
    }
}
