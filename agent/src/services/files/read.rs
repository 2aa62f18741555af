//! Reading a file.

use std::{
    io::{Seek, SeekFrom},
    sync::Arc,
};

use axum::{
    body::Body,
    extract::{Query, State, rejection::QueryRejection},
    response::{IntoResponse, Response},
};
use berth_link::wire::{AgentProblem, files::FileQuery};
use cap_std::fs::{File, Metadata, MetadataExt, OpenOptions, OpenOptionsExt};
use http::header;
use nix::fcntl::OFlag;
use tokio::io::AsyncReadExt;
use tokio_util::io::ReaderStream;

use super::{
    Files,
    confine::Spot,
    off_the_loop,
    problem::{Refused, of_io, with_path},
};

/// Bytes read at once.
const PART: usize = 64 << 10;

/// Answers with the content of a file, or a part of it.
pub async fn read(
    State(files): State<Arc<Files>>,
    query: Result<Query<FileQuery>, QueryRejection>,
) -> Result<Response, Refused> {
    let Query(query) = query?;
    let spot = files.places.locate(&query.path)?;
    let offset = query.offset.unwrap_or(0);
    let (file, metadata) = off_the_loop(move || open(&spot, offset)).await?;
    let length = metadata.len().saturating_sub(offset).min(query.limit.unwrap_or(u64::MAX));
    // A file that grows meanwhile must not be longer than was announced.
    let content = tokio::fs::File::from_std(file.into_std()).take(length);
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH, length.to_string()),
        (header::ETAG, entity_tag(&metadata)),
    ];
    Ok((headers, Body::from_stream(ReaderStream::with_capacity(content, PART))).into_response())
}

fn open(spot: &Spot, offset: u64) -> Result<(File, Metadata), AgentProblem> {
    let root = spot.open_root()?;
    let problem = |error| of_io(&error, &spot.path());
    // A pipe must not be waited for.
    let flags = (OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits();
    let opened = root.open_with(spot.way(), OpenOptions::new().read(true).custom_flags(flags));
    let mut file = opened.map_err(problem)?;
    let metadata = file.metadata().map_err(problem)?;
    if !metadata.is_file() {
        return Err(with_path("NotAFile", "only files have content", &spot.path()));
    }
    file.seek(SeekFrom::Start(offset)).map_err(problem)?;
    Ok((file, metadata))
}

/// Tells one content of a file from another: it changes with every write, also of the same size.
pub fn entity_tag(metadata: &Metadata) -> String {
    let changed = (metadata.ctime(), metadata.ctime_nsec());
    format!("\"{:x}-{:x}-{:x}.{:x}\"", metadata.ino(), metadata.len(), changed.0, changed.1)
}
