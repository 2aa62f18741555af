//! Deleting a file, a symbolic link (never what it points to) or a folder.

use std::{
    path::Path,
    sync::{Arc, PoisonError},
};

use axum::extract::{Query, State, rejection::QueryRejection};
use berth_link::wire::{AgentProblem, files::FileQuery};
use http::StatusCode;

use super::{
    Files,
    condition::Condition,
    confine::Spot,
    off_the_loop,
    problem::{Refused, of_io, with_path},
};

/// Deletes what is there.
pub async fn delete(
    State(files): State<Arc<Files>>,
    query: Result<Query<FileQuery>, QueryRejection>,
) -> Result<StatusCode, Refused> {
    let Query(query) = query?;
    let spot = files.places.locate(&query.path)?;
    let condition = Condition::from(query.if_match);
    off_the_loop(move || {
        let _turn = files.turn.lock().unwrap_or_else(PoisonError::into_inner);
        remove(&spot, &condition, query.recursive)
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

fn remove(spot: &Spot, condition: &Condition, recursive: bool) -> Result<(), AgentProblem> {
    let path = spot.path();
    let problem = |error| of_io(&error, &path);
    let Some(name) = spot.below.file_name() else {
        return Err(with_path("PathNotAllowed", "this folder itself stays", &path));
    };
    let parent = spot.below.parent().filter(|parent| !parent.as_os_str().is_empty());
    let folder = spot.open_root()?.open_dir(parent.unwrap_or(Path::new("."))).map_err(problem)?;
    let there = folder.symlink_metadata(name).map_err(problem)?;
    condition.check(Some(&there), &path)?;
    match (there.is_dir(), recursive) {
        (false, _) => folder.remove_file(name),
        (true, false) => folder.remove_dir(name),
        (true, true) => folder.remove_dir_all(name),
    }
    .map_err(problem)
}
