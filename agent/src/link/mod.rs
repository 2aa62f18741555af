//! The link process: one connection out to the gateway, and on it the agent's routes.
//!
//! It may be killed or updated at any time: whatever must not notice that is the supervisor's.

use std::{convert::Infallible, fs, sync::Arc, time::Duration};

use axum::body::Body;
use berth_link::{transport, wire};
use http::{Method, Request};
use hyper::body::Incoming;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tower::ServiceExt;

mod backoff;
mod dial;
mod passing;
mod proxy;
mod routes;
mod telling;
mod tls;

pub use backoff::Backoff;
pub use dial::{Connection, Dialer, Refusal};
pub use proxy::Proxies;
pub use tls::client as trust;

use crate::{
    activity::ActivityLog,
    config::{self, LINK_STATUS, Settings, TOKEN},
    services::tunnel,
    users::User,
};

/// How the link is doing, for whoever looks from inside the container.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LinkStatus {
    /// Version of the process.
    pub version: String,
    /// Its program.
    pub binary: String,
    /// Whether it has a connection now.
    pub connected: bool,
    /// Since when it has had one, or none.
    pub since: Timestamp,
    /// Tries without success since then.
    pub attempts: u32,
    /// What kept the last try from success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Refusal>,
}

impl LinkStatus {
    /// What the process last said; `None` when it has said nothing.
    pub fn load() -> Option<Self> {
        serde_json::from_slice(&fs::read(LINK_STATUS).ok()?).ok()
    }

    fn store(&self) {
        let text = serde_json::to_vec(self).unwrap_or_default();
        if let Err(error) = config::replace(LINK_STATUS, &text, 0o600) {
            tracing::warn!("the state of the link can not be noted: {error:#}");
        }
    }
}

/// How the process ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum End {
    /// It was told to.
    Stopped,
    /// The workspace is gone for good.
    Gone,
}

/// Keeps a connection to the gateway until SIGTERM.
pub async fn run() -> anyhow::Result<End> {
    let settings = Settings::load()?.ok_or_else(|| anyhow::anyhow!("{} is missing", config::SETTINGS))?;
    let token = fs::read_to_string(TOKEN)?;
    let user = User::find(&settings.user)?;
    let tls = tls::client(settings.certificate_authorities.as_deref())?;
    let proxies = proxy::Proxies::new(settings.proxy.as_ref());
    let dialer = dial::Dialer::new(&settings.gateways, token.trim(), tls, proxies)?;
    let activity = Arc::new(ActivityLog::default());
    let router = routes::router(&user, Arc::clone(&activity))?;
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        end = keep(dialer, router, activity) => Ok(end),
        _ = terminate.recv() => Ok(End::Stopped),
    }
}

async fn keep(mut dialer: dial::Dialer, router: axum::Router, activity: Arc<ActivityLog>) -> End {
    let mut status = LinkStatus {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        binary: std::env::current_exe().map(|path| path.to_string_lossy().into_owned()).unwrap_or_default(),
        connected: false,
        since: Timestamp::now(),
        attempts: 0,
        refusal: None,
    };
    let mut wait = backoff::Backoff::default();
    loop {
        status.store();
        let refusal = match dialer.dial().await {
            Ok(stream) => {
                tracing::info!(gateway = dialer.last(), "connected");
                status = LinkStatus {
                    connected: true,
                    since: Timestamp::now(),
                    attempts: 0,
                    refusal: None,
                    ..status
                };
                status.store();
                let began = tokio::time::Instant::now();
                let ended = serve(stream, router.clone(), Arc::clone(&activity)).await;
                tracing::info!(reason = ended, "disconnected");
                if began.elapsed() > Duration::from_secs(60) {
                    wait.reset();
                }
                status = LinkStatus { connected: false, since: Timestamp::now(), ..status };
                Refusal::broken(ended)
            }
            Err(refusal) => {
                tracing::warn!(code = refusal.code, "no connection: {}", refusal.message);
                refusal
            }
        };
        if refusal.is_final() {
            status.refusal = Some(refusal);
            status.store();
            return End::Gone;
        }
        status.attempts += 1;
        let pause = wait.next(refusal.retry_after());
        status.refusal = Some(refusal);
        status.store();
        tokio::time::sleep(pause).await;
    }
}

/// Answers requests on a connection until it ends; says why it did.
async fn serve<S>(stream: S, router: axum::Router, activity: Arc<ActivityLog>) -> String
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let (router, request) = (router.clone(), request.map(Body::new));
        let activity = Arc::clone(&activity);
        async move {
            // A router has no use for a request without a path.
            if request.method() == Method::CONNECT {
                return Ok::<_, Infallible>(tunnel::open(request, activity).await);
            }
            router.oneshot(request).await
        }
    });
    match transport::server().serve_connection(hyper_util::rt::TokioIo::new(stream), service).await {
        Ok(()) => "the gateway ended the connection".to_owned(),
        Err(error) => format!("the connection broke: {error}"),
    }
}

/// Where the gateway takes links, on one of its addresses.
fn connect_path(base: &str) -> String {
    format!("{}{}", base.trim_end_matches('/'), wire::CONNECT_PATH)
}
