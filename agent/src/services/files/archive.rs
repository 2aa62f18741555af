//! A folder as a tar stream, out and in. Neither is ever held as a whole.

use std::{io, sync::Arc};

use axum::{
    body::Body,
    extract::{Query, State, rejection::QueryRejection},
    response::{IntoResponse, Response},
};
use berth_link::wire::files::FileQuery;
use bytes::Bytes;
use futures::{TryStreamExt, stream};
use http::{StatusCode, header};
use tokio::sync::mpsc;
use tokio_util::io::{StreamReader, SyncIoBridge};

use super::{
    Files,
    confine::make_folders,
    off_the_loop, pack,
    problem::{Refused, of_io},
    unpack,
};

/// Bytes passed on at once.
const PART: usize = 64 << 10;
/// Parts on their way.
const PARTS: usize = 4;

/// Answers with a folder.
pub async fn read(
    State(files): State<Arc<Files>>,
    query: Result<Query<FileQuery>, QueryRejection>,
) -> Result<Response, Refused> {
    let Query(query) = query?;
    let spot = files.places.locate(&query.path)?;
    let folder = off_the_loop(move || {
        spot.open_root()?.open_dir(spot.way()).map_err(|error| of_io(&error, &spot.path()))
    });
    let folder = folder.await?;
    let (sender, receiver) = mpsc::channel(PARTS);
    tokio::task::spawn_blocking(move || {
        let parts = io::BufWriter::with_capacity(PART, Parts(sender.clone()));
        if let Err(error) = pack::pack(&folder, parts) {
            // Without this a broken archive would look like a whole one.
            let _ = sender.blocking_send(Err(error));
        }
    });
    let parts = stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|part: io::Result<Bytes>| (part, receiver))
    });
    Ok(([(header::CONTENT_TYPE, "application/x-tar")], Body::from_stream(parts)).into_response())
}

/// Takes a folder. What is there already is replaced, entry by entry, or stays.
pub async fn write(
    State(files): State<Arc<Files>>,
    query: Result<Query<FileQuery>, QueryRejection>,
    body: Body,
) -> Result<StatusCode, Refused> {
    let Query(query) = query?;
    let spot = files.places.locate(&query.path)?;
    let archive = SyncIoBridge::new(StreamReader::new(body.into_data_stream().map_err(io::Error::other)));
    off_the_loop(move || {
        let problem = |error| of_io(&error, &spot.path());
        let root = spot.open_root()?;
        make_folders(&root, spot.way()).map_err(problem)?;
        unpack::unpack(&root.open_dir(spot.way()).map_err(problem)?, archive)
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sends what is written as parts of a body.
struct Parts(mpsc::Sender<io::Result<Bytes>>);

impl io::Write for Parts {
    fn write(&mut self, part: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(Ok(Bytes::copy_from_slice(part)));
        sent.map(|()| part.len()).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
