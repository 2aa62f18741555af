//! What the link process does itself: commands, files, git, connections to ports, and looking at
//! the container. All of it as the workspace's ordinary user, and all that is asked for ends with
//! its request: what has to outlive a connection is the supervisor's, and may not be here.

pub mod files;
pub mod git;
pub mod system;
pub mod tunnel;

mod activity;
mod command;
mod ending;
mod exec;
mod exec_stream;
mod pipes;
mod problem;
mod pseudo_terminal;
#[cfg(test)]
mod tests;

use std::{path::PathBuf, sync::Arc};

use axum::{Router, extract::DefaultBodyLimit, middleware::from_fn_with_state, routing::post};

use crate::activity::ActivityLog;

/// Most bytes of a request that is one document.
const DOCUMENT: usize = 1 << 20;

/// What the services are given.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Folder of the workspace.
    pub workspace: PathBuf,
    /// Home of the user.
    pub home: PathBuf,
    /// Name of the user.
    pub user: String,
    /// Login shell of the user.
    pub shell: PathBuf,
}

/// What all routes share.
#[derive(Debug)]
struct Services {
    settings: Settings,
    activity: Arc<ActivityLog>,
}

/// The routes that the link answers itself; what is work on the way is noted.
pub fn router(settings: Settings, activity: Arc<ActivityLog>) -> Router {
    let others = Router::new()
        .merge(files::router(&settings))
        .merge(git::router(&settings))
        .merge(system::router(&settings));
    let services = Arc::new(Services { settings, activity });
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        runtime.spawn(activity::watch(Arc::downgrade(&services)));
    }
    Router::new()
        .route("/v1/exec", post(exec::run))
        .route("/v1/exec/stream", post(exec_stream::run))
        .layer(DefaultBodyLimit::max(DOCUMENT))
        .with_state(Arc::clone(&services))
        .merge(others)
        .layer(from_fn_with_state(services, activity::note))
}
