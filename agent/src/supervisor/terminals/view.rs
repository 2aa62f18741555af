//! How one viewer sees a terminal, and writes to it. Each goes at its own pace: who is too slow
//! misses output and is told so, and nobody waits for anybody.

use std::{convert::Infallible, sync::Arc};

use axum::body::Body;
use berth_link::wire::{
    AgentProblem,
    frame::{Decoder, Frame, FrameError, Kind},
    terminal::{Position, Size},
};
use bytes::Bytes;
use futures::{Stream, stream};
use http_body_util::BodyExt;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::{
    ring::Reading,
    terminal::{Progress, Terminal, Viewer},
};

use crate::activity::{ActivityLog, Work};

/// Bytes in one frame.
const MOST: usize = 32 << 10;

struct View {
    terminal: Arc<Terminal>,
    progress: watch::Receiver<Progress>,
    offset: u64,
    /// The viewer does not know `offset` yet.
    lost: bool,
    input: Option<AbortOnDropHandle<Result<(), FrameError>>>,
    over: bool,
    activity: Arc<ActivityLog>,
    _viewer: Viewer,
}

/// Frames for a viewer who has seen all before `since`, and takes its own from `body`.
pub fn view(
    terminal: Arc<Terminal>,
    since: Option<u64>,
    body: Body,
    activity: Arc<ActivityLog>,
) -> impl Stream<Item = Result<Bytes, Infallible>> {
    let taking = take(Arc::clone(&terminal), body, Arc::clone(&activity));
    let view = View {
        progress: terminal.progress(),
        offset: terminal.begin(since),
        lost: true,
        input: Some(AbortOnDropHandle::new(tokio::spawn(taking))),
        over: false,
        activity,
        _viewer: terminal.seen(),
        terminal,
    };
    stream::unfold(view, |mut view| async move { Some((Ok(view.next().await?.encode()), view)) })
}

impl View {
    async fn next(&mut self) -> Option<Frame> {
        if self.over {
            return None;
        }
        loop {
            if self.lost {
                self.lost = false;
                let position = Position { terminal: self.terminal.id.clone(), offset: self.offset };
                return Frame::json(Kind::Position, &position).ok();
            }
            // Looked at before the output: what was said before the end is not missed.
            let ended = self.progress.borrow_and_update().ended;
            match self.terminal.read(self.offset, MOST) {
                Reading::Bytes(bytes) => {
                    self.offset += bytes.len() as u64;
                    self.activity.touch(Work::Terminal);
                    return Some(Frame::bytes(Kind::Stdout, bytes));
                }
                Reading::Dropped(start) => {
                    self.offset = start;
                    self.lost = true;
                    continue;
                }
                Reading::Nothing => {}
            }
            if let Some(ended) = ended {
                self.over = true;
                return Frame::json(Kind::Ended, &ended).ok();
            }
            tokio::select! {
                changed = self.progress.changed() => changed.ok()?,
                error = refused(&mut self.input) => {
                    self.over = true;
                    return Frame::json(Kind::Problem, &AgentProblem::new("Invalid", error.to_string())).ok();
                }
            }
        }
    }
}

/// Waits until what the viewer sent could not be understood.
async fn refused(input: &mut Option<AbortOnDropHandle<Result<(), FrameError>>>) -> FrameError {
    if let Some(taking) = input {
        let done = taking.await;
        *input = None;
        if let Ok(Err(error)) = done {
            return error;
        }
    }
    std::future::pending().await
}

/// Takes what a viewer sends.
async fn take(terminal: Arc<Terminal>, mut body: Body, activity: Arc<ActivityLog>) -> Result<(), FrameError> {
    let mut decoder = Decoder::default();
    while let Some(Ok(part)) = body.frame().await {
        let Ok(bytes) = part.into_data() else { continue };
        decoder.push(&bytes);
        while let Some(frame) = decoder.next_frame()? {
            match frame.kind {
                Kind::Stdin => {
                    activity.touch(Work::Terminal);
                    terminal.write(frame.payload).await;
                }
                Kind::Resize => terminal.resize(frame.parse::<Size>()?),
                _ => {}
            }
        }
    }
    Ok(())
}
