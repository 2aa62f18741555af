//! The container as a whole: its processes, and what it uses.
//!
//! Everything is read from the kernel's files when it is asked for. Changing anything (ending
//! processes, limits) has no place here.

mod cgroup;
mod ports;
mod processes;
mod stats;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use axum::{Json, Router, extract::State, routing::get};
use berth_link::wire::{
    AgentProblem,
    system::{Stats, SystemProcesses},
};

use super::{Settings, files::Refused};

/// Where the kernel tells about processes.
const PROCESSES: &str = "/proc";
/// Where it tells about the container.
const CGROUP: &str = "/sys/fs/cgroup";

#[derive(Debug)]
struct System {
    workspace: PathBuf,
    processor: stats::Processor,
}

/// The routes.
pub fn router(settings: &Settings) -> Router {
    let system = System { workspace: settings.workspace.clone(), processor: stats::Processor::default() };
    Router::new()
        .route("/v1/system/processes", get(processes))
        .route("/v1/stats", get(stats))
        .with_state(Arc::new(system))
}

async fn processes() -> Result<Json<SystemProcesses>, Refused> {
    let found = tokio::task::spawn_blocking(|| processes::all(Path::new(PROCESSES))).await;
    Ok(Json(SystemProcesses { processes: found.map_err(|error| failed(&error))? }))
}

async fn stats(State(system): State<Arc<System>>) -> Result<Json<Stats>, Refused> {
    let cpu_millis = system.processor.load(Path::new(CGROUP)).await;
    let read = move || stats::read(&system.workspace, Path::new(CGROUP), Path::new(PROCESSES));
    let rest = tokio::task::spawn_blocking(read).await.map_err(|error| failed(&error))?;
    Ok(Json(Stats { cpu_millis, ..rest }))
}

fn failed(error: &dyn std::fmt::Display) -> Refused {
    AgentProblem::new("Internal", error.to_string()).into()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use http::Request;
    use http_body_util::BodyExt;
    use serde::de::DeserializeOwned;
    use tower::ServiceExt;

    use super::*;

    async fn get<T: DeserializeOwned>(route: &str) -> T {
        let router = router(&Settings { workspace: "/tmp".into(), ..Settings::default() });
        let response = router.oneshot(Request::get(route).body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), 200);
        serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap()
    }

    #[tokio::test]
    async fn this_process_is_seen_with_the_port_it_listens_on() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let found: SystemProcesses = get("/v1/system/processes").await;
        let own = found.processes.iter().find(|process| process.pid == std::process::id()).unwrap();
        assert!(own.ports.contains(&listener.local_addr().unwrap().port()));
        assert!(own.resident_bytes > 0 && own.started_at.is_some() && own.command.contains("berth_agent"));
        let user = nix::unistd::User::from_uid(nix::unistd::geteuid()).unwrap().unwrap();
        assert_eq!(own.user, user.name);
    }

    #[tokio::test]
    async fn a_container_uses_something() {
        let stats: Stats = get("/v1/stats").await;
        assert!(stats.disk_size_bytes >= stats.disk_used_bytes && stats.disk_used_bytes > 0);
        assert!(stats.processes > 0);
    }
}
