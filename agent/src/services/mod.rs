//! What the link process does itself: commands, files, git, connections to ports, and looking at
//! the container.

pub mod files;
pub mod git;
pub mod system;
pub mod tunnel;

use std::path::PathBuf;
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)]
pub struct Settings {
    pub workspace: PathBuf,
    pub home: PathBuf,
    pub user: String,
    pub shell: PathBuf,
}
#[allow(missing_docs)]
pub fn router(settings: Settings) -> axum::Router {
    axum::Router::new()
        .merge(files::router(&settings))
        .merge(git::router(&settings))
        .merge(system::router(&settings))
}
