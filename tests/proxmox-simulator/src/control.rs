//! The other listener: tests plan faults there, and read what was called and what there is.

use std::{collections::BTreeMap, io, sync::Arc};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::{get, post, put},
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::{
    cluster::{Cluster, state::Guest},
    faults::{Fault, Recorded, TaskFault},
    lxc::config::Config,
};

type Shared = State<Arc<Cluster>>;

/// Serves until it is dropped.
///
/// # Errors
///
/// Why no connection can be accepted any more.
pub async fn serve(listener: TcpListener, cluster: Arc<Cluster>) -> io::Result<()> {
    let routes = Router::new()
        .route("/faults", post(plan).delete(clear))
        .route("/faults/tasks", post(plan_task))
        .route("/calls", get(calls).delete(forget))
        .route("/state", get(state))
        .route("/tick", post(tick))
        .route("/nodes/{node}", put(change_node))
        .route("/guests/{vmid}", put(take).delete(release))
        .route("/guests/{vmid}/lock", put(lock).delete(unlock))
        .route("/guests/{vmid}/managed", put(manage))
        .route("/tasks/{upid}/kill", post(kill))
        .with_state(cluster);
    axum::serve(listener, routes).await
}

async fn plan(State(cluster): Shared, Json(fault): Json<Fault>) -> StatusCode {
    cluster.faults.plan(fault);
    StatusCode::NO_CONTENT
}

async fn plan_task(State(cluster): Shared, Json(fault): Json<TaskFault>) -> StatusCode {
    cluster.faults.plan_task(fault);
    StatusCode::NO_CONTENT
}

async fn clear(State(cluster): Shared) -> StatusCode {
    cluster.faults.clear();
    StatusCode::NO_CONTENT
}

async fn calls(State(cluster): Shared) -> Json<Vec<Recorded>> {
    Json(cluster.faults.recorded())
}

async fn forget(State(cluster): Shared) -> StatusCode {
    cluster.faults.forget();
    StatusCode::NO_CONTENT
}

async fn tick(State(cluster): Shared) -> StatusCode {
    cluster.tick().await;
    StatusCode::NO_CONTENT
}

async fn state(State(cluster): Shared) -> Json<Value> {
    let vmids: Vec<u32> = cluster.state().guests.keys().copied().collect();
    let mut running = BTreeMap::new();
    for vmid in vmids {
        running.insert(vmid, cluster.runs(vmid).await);
    }
    let state = cluster.state();
    Json(json!({
        "nodes": state.nodes, "offline": state.offline, "storages": state.storages, "pools": state.pools,
        "guests": state.guests, "running": running, "tasks": state.tasks, "managed": state.managed,
        "acls": state.access.acls,
    }))
}

/// Whether a node can be reached.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reach {
    online: bool,
}

async fn change_node(
    State(cluster): Shared,
    Path(node): Path<String>,
    Json(reach): Json<Reach>,
) -> StatusCode {
    let mut state = cluster.state();
    if !state.nodes.contains_key(&node) {
        return StatusCode::NOT_FOUND;
    }
    if reach.online {
        state.offline.remove(&node)
    } else {
        state.offline.insert(node)
    };
    StatusCode::NO_CONTENT
}

/// A guest that somebody else made.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Alien {
    node: String,
    #[serde(default)]
    qemu: bool,
    #[serde(default)]
    config: String,
}

async fn take(
    State(cluster): Shared,
    Path(vmid): Path<u32>,
    Json(alien): Json<Alien>,
) -> Result<StatusCode, (StatusCode, String)> {
    let config = Config::parse(&alien.config).map_err(|words| (StatusCode::BAD_REQUEST, words))?;
    let mut state = cluster.state();
    if let Some(words) = state.taken(vmid) {
        return Err((StatusCode::CONFLICT, words));
    }
    let guest = Guest { node: alien.node, qemu: alien.qemu, systemd: false, filesystem: None, config };
    state.guests.insert(vmid, guest);
    Ok(StatusCode::NO_CONTENT)
}

async fn release(State(cluster): Shared, Path(vmid): Path<u32>) -> StatusCode {
    // A guest that nobody started has nothing to remove.
    let _ = cluster.containers.remove(vmid).await;
    let removed = cluster.state().guests.remove(&vmid);
    if removed.is_some() { StatusCode::NO_CONTENT } else { StatusCode::NOT_FOUND }
}

/// A lock that nobody holds.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stale {
    lock: String,
}

async fn lock(State(cluster): Shared, Path(vmid): Path<u32>, Json(stale): Json<Stale>) -> StatusCode {
    let mut state = cluster.state();
    let Some(guest) = state.guests.get_mut(&vmid) else { return StatusCode::NOT_FOUND };
    guest.config.set("lock", stale.lock);
    StatusCode::NO_CONTENT
}

async fn unlock(State(cluster): Shared, Path(vmid): Path<u32>) -> StatusCode {
    let done = cluster.unlock(vmid).await;
    if done.is_ok() { StatusCode::NO_CONTENT } else { StatusCode::NOT_FOUND }
}

async fn manage(State(cluster): Shared, Path(vmid): Path<u32>, Json(managed): Json<bool>) -> StatusCode {
    let mut state = cluster.state();
    if managed {
        state.managed.insert(vmid)
    } else {
        state.managed.remove(&vmid)
    };
    StatusCode::NO_CONTENT
}

async fn kill(State(cluster): Shared, Path(upid): Path<String>) -> StatusCode {
    let state = cluster.state();
    let Some(task) = state.tasks.get(&upid) else { return StatusCode::NOT_FOUND };
    task.kill.cancel();
    StatusCode::NO_CONTENT
}
