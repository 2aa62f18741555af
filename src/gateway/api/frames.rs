//! A stream of frames with an agent: [`berth_link::wire::frame`] both ways.

use std::convert::Infallible;

use axum::body::{Body, BodyDataStream};
use berth_link::wire::frame::{Decoder, Frame};
use bytes::Bytes;
use futures::StreamExt;
use http::Method;
use tokio::sync::mpsc;

use super::{
    agent::{Agent, PATIENCE, nonsense, request},
    problem::Problem,
};

/// Frames that wait for the agent to take them.
const WAITING: usize = 16;

/// The way to the agent. The agent sees the end when this is dropped.
pub struct FrameSender(mpsc::Sender<Result<Bytes, Infallible>>);

impl FrameSender {
    /// Sends a frame; waits while the agent takes none. Returns whether the agent is still there.
    pub async fn send(&self, frame: &Frame) -> bool {
        self.0.send(Ok(frame.encode())).await.is_ok()
    }
}

/// The way from the agent.
pub struct FrameReceiver {
    body: BodyDataStream,
    decoder: Decoder,
}

impl FrameReceiver {
    /// The next frame; nothing at the end.
    pub async fn next(&mut self) -> Result<Option<Frame>, Problem> {
        loop {
            if let Some(frame) = self.decoder.next_frame().map_err(nonsense)? {
                return Ok(Some(frame));
            }
            match self.body.next().await {
                Some(Ok(bytes)) => self.decoder.push(&bytes),
                Some(Err(error)) => return Err(nonsense(format!("the stream broke: {error}"))),
                None => return Ok(None),
            }
        }
    }
}

/// Opens a stream, with its first frame where there is one.
pub async fn open(
    agent: &Agent,
    path: &str,
    first: Option<Frame>,
) -> Result<(FrameSender, FrameReceiver), Problem> {
    let (sender, mut waiting) = mpsc::channel(WAITING);
    let sender = FrameSender(sender);
    if let Some(first) = first {
        sender.send(&first).await;
    }
    let body = Body::from_stream(futures::stream::poll_fn(move |task| waiting.poll_recv(task)));
    let answer = agent.send(request(Method::POST, path, body)?, PATIENCE).await?;
    let receiver = FrameReceiver { body: answer.into_body().into_data_stream(), decoder: Decoder::default() };
    Ok((sender, receiver))
}
