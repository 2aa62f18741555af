//! What is in a folder.

use std::{io, sync::Arc};

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
};
use berth_link::wire::{
    AgentProblem,
    files::{Entry, EntryKind, FileQuery, Listing},
};
use cap_std::fs::{Dir, DirEntry, FileType, MetadataExt};
use jiff::Timestamp;

use super::{
    Files,
    confine::Spot,
    off_the_loop,
    problem::{Refused, of_io},
};

/// Most entries of one answer.
const MOST: usize = 10_000;

/// Answers with the entries of a folder.
pub async fn list(
    State(files): State<Arc<Files>>,
    query: Result<Query<FileQuery>, QueryRejection>,
) -> Result<Json<Listing>, Refused> {
    let Query(query) = query?;
    let spot = files.places.locate(&query.path)?;
    Ok(Json(off_the_loop(move || entries(&spot)).await?))
}

fn entries(spot: &Spot) -> Result<Listing, AgentProblem> {
    let problem = |error| of_io(&error, &spot.path());
    let folder = spot.open_root()?.open_dir(spot.way()).map_err(problem)?;
    let mut listing = Listing::default();
    for found in folder.entries().map_err(problem)? {
        if listing.entries.len() == MOST {
            listing.truncated = true;
            break;
        }
        match found.and_then(|found| entry(&folder, &found)) {
            // It went away meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            entry => listing.entries.push(entry.map_err(problem)?),
        }
    }
    listing.entries.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    Ok(listing)
}

fn entry(folder: &Dir, found: &DirEntry) -> io::Result<Entry> {
    let metadata = found.metadata()?;
    let kind = kind(metadata.file_type());
    let target = match kind {
        EntryKind::Link => Some(folder.read_link_contents(found.file_name())?),
        _ => None,
    };
    Ok(Entry {
        name: found.file_name().to_string_lossy().into_owned(),
        kind,
        size: metadata.len(),
        mode: format!("{:o}", metadata.mode() & 0o7777),
        modified_at: Timestamp::from_second(metadata.mtime()).ok(),
        target: target.map(|target| target.to_string_lossy().into_owned()),
    })
}

fn kind(kind: FileType) -> EntryKind {
    if kind.is_file() {
        EntryKind::File
    } else if kind.is_dir() {
        EntryKind::Folder
    } else if kind.is_symlink() {
        EntryKind::Link
    } else {
        EntryKind::Other
    }
}
