//! The agent's routes: the link's own, and the supervisor's.

use std::{fs, path::PathBuf, sync::Arc};

use axum::{
    Json, Router,
    body::Body,
    extract::State,
    routing::{any, get},
};
use berth_link::wire::{AgentInfo, PROTOCOL};
use http::Request;
use http_body_util::BodyExt;
use jiff::Timestamp;

use super::{
    passing::{Supervisor, pass},
    telling::{self, Telling},
};
use crate::{
    activity::ActivityLog,
    config::{SUPERVISOR_SOCKET, WORKSPACE},
    services, update,
    users::User,
};

/// Most bytes of the supervisor's answer about itself.
const ANSWER: usize = 16 << 10;

struct Identity {
    info: AgentInfo,
    supervisor: Arc<Supervisor>,
}

/// All routes of an agent that works as this user.
pub fn router(user: &User, activity: Arc<ActivityLog>) -> anyhow::Result<Router> {
    let supervisor = Arc::new(Supervisor::new(PathBuf::from(SUPERVISOR_SOCKET)));
    let identity = Arc::new(Identity {
        info: AgentInfo {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            protocol: PROTOCOL,
            supervisor_version: None,
            build: update::build("/proc/self/exe").ok(),
            failed_update: update::failed(),
            boot_id: boot_id(),
            started_at: Timestamp::now(),
            user: user.name.clone(),
        },
        supervisor: Arc::clone(&supervisor),
    });
    let passed = Router::new()
        .route("/v1/processes", any(pass))
        .route("/v1/processes/{*rest}", any(pass))
        .route("/v1/terminals", any(pass))
        .route("/v1/terminals/{*rest}", any(pass))
        .with_state(Arc::clone(&supervisor));
    let told = Router::new()
        .route("/v1/events", get(telling::events))
        .route("/v1/activity", get(telling::activity))
        .with_state(Telling { supervisor, activity: Arc::clone(&activity) });
    let settings = services::Settings {
        workspace: PathBuf::from(WORKSPACE),
        home: user.home.clone(),
        user: user.name.clone(),
        shell: user.shell.clone(),
    };
    let own = services::router(settings, activity);
    Ok(Router::new().route("/v1/info", get(info)).with_state(identity).merge(passed).merge(told).merge(own))
}

async fn info(State(identity): State<Arc<Identity>>) -> Json<AgentInfo> {
    let supervisor_version = supervisor_version(&identity.supervisor).await;
    Json(AgentInfo { supervisor_version, ..identity.info.clone() })
}

async fn supervisor_version(supervisor: &Supervisor) -> Option<String> {
    let request = Request::get("/v1/info").body(Body::empty()).ok()?;
    let answer = supervisor.send(request).await.ok()?;
    let body = http_body_util::Limited::new(answer.into_body(), ANSWER).collect().await.ok()?.to_bytes();
    let info: serde_json::Value = serde_json::from_slice(&body).ok()?;
    info.get("version")?.as_str().map(str::to_owned)
}

/// Tells one boot of the container from another: when its first process started, on which boot
/// of the host.
fn boot_id() -> String {
    let host = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let first = fs::read_to_string("/proc/1/stat").unwrap_or_default();
    let started = first.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(19)).unwrap_or("0");
    format!("{}-{started}", host.trim())
}
