//! Files: reading, writing, listing, deleting and archives.
//!
//! [`confine`] decides where a path may lead, and everything here opens files only through it.
//! What a file is about (repositories, processes) has no place here.

mod archive;
mod condition;
mod confine;
mod delete;
mod list;
mod pack;
mod problem;
mod read;
mod unpack;
mod write;

use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use axum::{Router, routing::get};
use berth_link::wire::AgentProblem;

use self::confine::Places;
pub(super) use self::problem::Refused;
use super::Settings;

/// The folder for temporary files.
const TEMPORARY: &str = "/tmp";

/// What the routes share.
#[derive(Debug)]
struct Files {
    places: Places,
    /// Held from looking at a condition to doing what hangs on it.
    turn: Mutex<()>,
}

/// The routes.
pub fn router(settings: &Settings) -> Router {
    over(Places::new(&settings.workspace, &[&settings.home, Path::new(TEMPORARY)]))
}

fn over(places: Places) -> Router {
    let own = get(read::read).put(write::write).delete(delete::delete);
    Router::new()
        .route("/v1/files", own)
        .route("/v1/files/list", get(list::list))
        .route("/v1/files/archive", get(archive::read).put(archive::write))
        .with_state(Arc::new(Files { places, turn: Mutex::new(()) }))
}

/// Does what may wait for a disk.
async fn off_the_loop<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, AgentProblem> + Send + 'static,
) -> Result<T, Refused> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| AgentProblem::new("Internal", error.to_string()))?.map_err(Refused)
}

#[cfg(test)]
mod tests;
