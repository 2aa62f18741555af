//! Files: reading, writing, listing, deleting and archives.
//!
//! [`confine`] decides where a path may lead, and everything here opens files only through it.
//! What a file is about (repositories, processes) has no place here.

mod confine;
mod problem;
mod read;

use std::{path::Path, sync::Arc};

use axum::{Router, routing::get};
use berth_link::wire::AgentProblem;

use self::{confine::Places, problem::Refused};
use super::Settings;

/// The folder for temporary files.
const TEMPORARY: &str = "/tmp";

/// What the routes share.
#[derive(Debug)]
struct Files {
    places: Places,
}

/// The routes.
pub fn router(settings: &Settings) -> Router {
    over(Places::new(&settings.workspace, &[&settings.home, Path::new(TEMPORARY)]))
}

fn over(places: Places) -> Router {
    Router::new().route("/v1/files", get(read::read)).with_state(Arc::new(Files { places }))
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
