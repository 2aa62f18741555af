//! Answers the `pct`s of one command.

use std::{io, sync::Arc};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader},
    net::{UnixListener, UnixStream},
    sync::mpsc,
};

use super::{
    host::Host,
    protocol::{Frame, Request},
};
use crate::containers::Chunk;

/// No request's line is longer: Linux lets no command line be.
const LONGEST: u64 = 8 << 20;
const PENDING: usize = 16;

/// Answers every connection, until it is dropped.
pub(super) async fn answer_all(listener: UnixListener, host: Arc<Host>) {
    let mut answers = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            connection = listener.accept() => {
                let Ok((stream, _)) = connection else { return };
                answers.spawn(answer(stream, Arc::clone(&host)));
            }
            Some(ended) = answers.join_next() => {
                if let Ok(Err(error)) = ended {
                    tracing::debug!(%error, "a pct has gone");
                }
            }
        }
    }
}

async fn answer(stream: UnixStream, host: Arc<Host>) -> io::Result<()> {
    let (question, mut answer) = stream.into_split();
    let mut question = BufReader::new(question);
    let mut line = Vec::new();
    (&mut question).take(LONGEST).read_until(b'\n', &mut line).await?;
    let request: Request = serde_json::from_slice(&line)?;
    let (sender, mut outputs) = mpsc::channel(PENDING);
    let write = async {
        while let Some(chunk) = outputs.recv().await {
            let frame = match chunk {
                Chunk::Stdout(bytes) => Frame::Stdout(bytes),
                Chunk::Stderr(bytes) => Frame::Stderr(bytes),
            };
            frame.write(&mut answer).await?;
        }
        io::Result::Ok(())
    };
    let (code, written) = tokio::join!(host.answer(request, Box::new(question), sender), write);
    written?;
    Frame::Exit(code).write(&mut answer).await
}
