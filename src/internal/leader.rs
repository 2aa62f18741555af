//! The leader's end of the gateways' streams.

use std::{io, sync::Arc, time::Duration};

use axum::{body::Body, response::Response};
use bytes::Bytes;
use futures::{Stream, StreamExt, future};
use http::{Request, StatusCode};
use tokio::sync::{mpsc, watch};
use tokio_util::codec::{FramedRead, LinesCodec};

use super::messages::{Down, Up};
use crate::{
    controller::{context::Context, links},
    link::hub::Report,
};

/// The path of the streams.
pub const STREAM: &str = "/leader/gateways";
/// Longest message.
pub const MESSAGE_BYTES: usize = 4 << 20;
/// Time until a gateway must have said who it is.
const HELLO: Duration = Duration::from_secs(5);
/// Messages on their way to a gateway.
const PENDING: usize = 256;

/// What this process has as the leader, while it is.
pub type Leadership = watch::Receiver<Option<Arc<Context>>>;

/// Takes a gateway's stream. 503 where this replica is not the leader.
pub fn take(leadership: &Leadership, request: Request<Body>) -> Response {
    let Some(context) = leadership.borrow().clone() else {
        let mut response = Response::new(Body::from("this replica is not the leader"));
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        return response;
    };
    let (sender, receiver) = mpsc::channel::<Down>(PENDING);
    let mut leadership = leadership.clone();
    tokio::spawn(async move {
        tokio::select! {
            () = attend(&context, request, sender) => {}
            _ = leadership.wait_for(Option::is_none) => {}
        }
    });
    let lines = futures::stream::unfold(receiver, |mut receiver| async move {
        let message = receiver.recv().await?;
        Some((line(&message), receiver))
    });
    Response::new(Body::from_stream(lines))
}

/// One message as it goes over the wire.
pub fn line<T: serde::Serialize>(message: &T) -> io::Result<Bytes> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    Ok(line.into())
}

/// The messages of a stream, until one can not be read.
pub fn messages<T: serde::de::DeserializeOwned + Send + Sync + 'static>(
    body: Body,
) -> impl Stream<Item = T> + Send + Unpin {
    let bytes = body.into_data_stream().map(|part| part.map_err(io::Error::other));
    let reader = tokio_util::io::StreamReader::new(Box::pin(bytes));
    let lines = FramedRead::new(reader, LinesCodec::new_with_max_length(MESSAGE_BYTES));
    let messages = lines.map(|line| serde_json::from_str(&line?).map_err(anyhow::Error::from));
    let readable = messages.take_while(|message| {
        if let Err(error) = message {
            tracing::debug!(%error, "an internal stream ended");
        }
        future::ready(message.is_ok())
    });
    Box::pin(readable.filter_map(|message| future::ready(message.ok())))
}

async fn attend(context: &Context, request: Request<Body>, sender: mpsc::Sender<Down>) {
    let mut messages = messages::<Up>(request.into_body());
    let Ok(Some(Up::Hello { gateway, address })) = tokio::time::timeout(HELLO, messages.next()).await else {
        tracing::warn!("a gateway did not say who it is");
        return;
    };
    tracing::info!(gateway, address, "a gateway has come");
    let reports = messages.filter_map(|message| {
        future::ready(match message {
            Up::Report(report) => Some(report),
            Up::Hello { .. } => None::<Report>,
        })
    });
    let tell = |message: Down| {
        let sender = sender.clone();
        async move { sender.send(message).await.is_ok() }
    };
    links::attend(context, &gateway, &address, reports, tell).await;
    tracing::info!(gateway, "a gateway has gone");
}
