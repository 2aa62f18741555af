//! `POST /v1/exec/stream`: a command whose input and output are frames, as they come. A reader
//! that does not read holds the command up: nothing is gathered here.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{body::Body, extract::State};
use berth_link::wire::{
    AgentProblem,
    exec::{Ended, ExecStart},
    frame::{Decoder, Frame, FrameError, Kind},
    terminal::Size,
};
use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use http::{Response, StatusCode};
use http_body_util::BodyExt;
use tokio::sync::mpsc;

use super::{Services, command::Start, pipes, problem::Refused, pseudo_terminal};
use crate::activity::{ActivityLog, Work};

/// Time for the first frame.
const PATIENCE: Duration = Duration::from_secs(10);
/// Frames on their way in each direction.
const FRAMES: usize = 4;

/// What a command is given while it runs.
#[derive(Debug)]
pub enum Input {
    /// Something to read.
    Bytes(Bytes),
    /// There is nothing more to read.
    Closed,
    /// Its window has another size.
    Resize(Size),
}

/// Where the frames for the client go.
#[derive(Clone, Debug)]
pub struct Outlet(mpsc::Sender<Frame>, Arc<Services>);

impl Outlet {
    /// Passes on all of an output, at the client's pace.
    pub async fn pass(&self, kind: Kind, output: impl Stream<Item = Bytes>) {
        let mut output = std::pin::pin!(output);
        while let Some(bytes) = output.next().await {
            self.1.activity.touch(Work::Terminal);
            if self.0.send(Frame::bytes(kind, bytes)).await.is_err() {
                return;
            }
        }
    }

    /// Says how the command ended.
    pub async fn end(&self, ended: &Ended) {
        if let Ok(frame) = Frame::json(Kind::Ended, ended) {
            let _ = self.0.send(frame).await;
        }
    }

    async fn refuse(&self, error: &FrameError) {
        if let Ok(frame) = Frame::json(Kind::Problem, &AgentProblem::new("Invalid", error.to_string())) {
            let _ = self.0.send(frame).await;
        }
    }

    /// Waits until the client has gone away.
    pub async fn left(&self) {
        self.0.closed().await;
    }
}

/// Waits until the time of a command is over.
pub async fn over(time: Option<u64>) {
    match time {
        Some(millis) => tokio::time::sleep(Duration::from_millis(millis)).await,
        None => std::future::pending().await,
    }
}

/// Starts a command as the first frame says. When the client goes away, so does the command.
pub async fn run(State(services): State<Arc<Services>>, body: Body) -> Result<Response<Body>, Refused> {
    let mut frames = Frames { body, decoder: Decoder::default() };
    let first = tokio::time::timeout(PATIENCE, frames.next()).await.map_err(|_| {
        Refused::new(StatusCode::REQUEST_TIMEOUT, "StartTimeout", "what is to be started was not said")
    })?;
    let wanted: ExecStart = match first {
        Ok(Some(frame)) if frame.kind == Kind::Start => {
            frame.parse().map_err(|error| Refused::invalid(error.to_string()))?
        }
        Ok(_) => return Err(Refused::invalid("the first frame has to be Start")),
        Err(error) => return Err(Refused::invalid(error.to_string())),
    };
    let start = Start::new(&wanted.command, &services.settings, wanted.tty.is_some())?;
    let (to_client, mut outgoing) = mpsc::channel(FRAMES);
    let (to_command, inputs) = mpsc::channel(FRAMES);
    let outlet = Outlet(to_client, Arc::clone(&services));
    match wanted.tty {
        Some(size) => pseudo_terminal::start(start, &wanted, size, inputs, outlet.clone())?,
        None => pipes::start(&start, &wanted, inputs, outlet.clone())?,
    }
    tokio::spawn(take(frames, to_command, outlet));
    let mut last = false;
    let frames = stream::poll_fn(move |task| {
        if last {
            return std::task::Poll::Ready(None);
        }
        outgoing.poll_recv(task).map(|frame| {
            let frame = frame?;
            last = matches!(frame.kind, Kind::Ended | Kind::Problem);
            Some(Ok::<_, Infallible>(frame.encode()))
        })
    });
    Ok(Response::new(Body::from_stream(frames)))
}

/// The frames that the client sends.
struct Frames {
    body: Body,
    decoder: Decoder,
}

impl Frames {
    async fn next(&mut self) -> Result<Option<Frame>, FrameError> {
        loop {
            if let Some(frame) = self.decoder.next_frame()? {
                return Ok(Some(frame));
            }
            match self.body.frame().await {
                Some(Ok(part)) => {
                    if let Ok(bytes) = part.into_data() {
                        self.decoder.push(&bytes);
                    }
                }
                Some(Err(_)) | None => return Ok(None),
            }
        }
    }
}

/// Takes what the client sends until the command or the client is gone.
async fn take(frames: Frames, to_command: mpsc::Sender<Input>, outlet: Outlet) {
    tokio::select! {
        () = outlet.left() => {}
        () = to_command.closed() => {}
        result = hand_over(frames, &to_command, &outlet.1.activity) => if let Err(error) = result {
            outlet.refuse(&error).await;
        }
    }
}

async fn hand_over(
    mut frames: Frames,
    to_command: &mpsc::Sender<Input>,
    activity: &ActivityLog,
) -> Result<(), FrameError> {
    while let Some(frame) = frames.next().await? {
        activity.touch(Work::Terminal);
        let input = match frame.kind {
            Kind::Stdin => Input::Bytes(frame.payload),
            Kind::StdinClosed => Input::Closed,
            Kind::Resize => Input::Resize(frame.parse()?),
            _ => continue,
        };
        if to_command.send(input).await.is_err() {
            return Ok(());
        }
    }
    let _ = to_command.send(Input::Closed).await;
    Ok(())
}
