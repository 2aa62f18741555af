//! Kubernetes' channels: many streams in one WebSocket, as `kubectl exec` speaks them.
//!
//! Each binary message begins with one byte for the channel. Subprotocol `v5.channel.k8s.io` adds
//! channel 255, whose message names a channel that ends; `v4.channel.k8s.io` has no way to end
//! one.

use std::time::Duration;

use axum::{body::Body, response::Response};
use bytes::{BufMut, Bytes, BytesMut};
use futures::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use http::{HeaderMap, HeaderValue, Request, StatusCode, Version, header};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message,
        handshake::derive_accept_key,
        protocol::{CloseFrame, Role, WebSocketConfig, frame::coding::CloseCode},
    },
};

use super::problem::Problem;

/// Standard input.
pub const STDIN: u8 = 0;
/// Standard output.
pub const STDOUT: u8 = 1;
/// Standard error.
pub const STDERR: u8 = 2;
/// How it ended: a `metav1.Status`.
pub const STATUS: u8 = 3;
/// The size of the terminal.
pub const RESIZE: u8 = 4;
/// Where in a terminal's output the bytes that follow stand: a
/// [`berth_link::wire::terminal::Position`]. Ours, not Kubernetes'.
pub const POSITION: u8 = 5;
/// Names a channel that ends; version 5 alone.
pub const CLOSE: u8 = 255;

/// Longest message that is taken.
const MAX_MESSAGE: usize = 1 << 20;
/// Longest message that is sent: clients read with buffers of their own.
const MAX_SENT: usize = 32 << 10;
/// Time between two looks whether the client is still there.
const PING_EVERY: Duration = Duration::from_secs(30);
/// A client that is silent for so long, with no answer to a ping, is gone.
const SILENCE: Duration = Duration::from_secs(95);
/// Time for the client to take a message. A client that reads more slowly has stopped reading.
const SEND_PATIENCE: Duration = Duration::from_secs(300);
/// Time for a goodbye.
const GOODBYE: Duration = Duration::from_secs(5);

/// A version of the channels.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Protocol {
    /// `v4.channel.k8s.io`.
    V4,
    /// `v5.channel.k8s.io`.
    V5,
}

impl Protocol {
    fn name(self) -> &'static str {
        match self {
            Self::V4 => "v4.channel.k8s.io",
            Self::V5 => "v5.channel.k8s.io",
        }
    }

    /// The newest that the client offers.
    fn offered(headers: &HeaderMap) -> Option<Self> {
        let offers: Vec<_> = headers
            .get_all(header::SEC_WEBSOCKET_PROTOCOL)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(',').map(str::trim))
            .collect();
        [Self::V5, Self::V4].into_iter().find(|known| offers.contains(&known.name()))
    }
}

/// Whether a request wants to become a WebSocket.
pub fn is_upgrade(headers: &HeaderMap) -> bool {
    let holds = |name: header::HeaderName, word: &str| {
        headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|each| each.trim().eq_ignore_ascii_case(word))
    };
    holds(header::CONNECTION, "upgrade") && holds(header::UPGRADE, "websocket")
}

/// A WebSocket with channels that is about to be.
pub struct Handshake {
    upgrade: OnUpgrade,
    accept_key: String,
    protocol: Protocol,
}

impl Handshake {
    /// Takes it from a request.
    pub fn begin(request: &mut Request<Body>) -> Result<Self, Problem> {
        let headers = request.headers();
        if request.version() != Version::HTTP_11 || !is_upgrade(headers) {
            return Err(Problem::bad_request("a WebSocket over HTTP/1.1 is wanted here"));
        }
        if headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
            return Err(Problem::bad_request("Sec-WebSocket-Version is not 13"));
        }
        let key = headers
            .get(header::SEC_WEBSOCKET_KEY)
            .ok_or_else(|| Problem::bad_request("Sec-WebSocket-Key is missing"))?;
        let accept_key = derive_accept_key(key.as_bytes());
        let protocol = Protocol::offered(headers).ok_or_else(|| {
            Problem::bad_request(
                "Sec-WebSocket-Protocol names neither v5.channel.k8s.io nor v4.channel.k8s.io",
            )
        })?;
        let upgrade = request
            .extensions_mut()
            .remove::<OnUpgrade>()
            .ok_or_else(|| Problem::bad_request("this connection can not become a WebSocket"))?;
        Ok(Self { upgrade, accept_key, protocol })
    }

    /// Says yes, and goes on with the channels once the client has them too.
    pub fn accept<S, F>(self, session: S) -> Result<Response, Problem>
    where
        S: FnOnce(Sender, Receiver) -> F + Send + 'static,
        F: Future<Output = ()> + Send,
    {
        let response = Response::builder()
            .status(StatusCode::SWITCHING_PROTOCOLS)
            .header(header::CONNECTION, "Upgrade")
            .header(header::UPGRADE, "websocket")
            .header(header::SEC_WEBSOCKET_ACCEPT, self.accept_key)
            .header(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(self.protocol.name()))
            .body(Body::empty())
            .map_err(|error| Problem::bad_request(error.to_string()))?;
        tokio::spawn(async move {
            match self.upgrade.await {
                Ok(upgraded) => {
                    let (sender, receiver) = channels(upgraded, self.protocol).await;
                    session(sender, receiver).await;
                }
                Err(error) => tracing::debug!(%error, "a WebSocket did not come to be"),
            }
        });
        Ok(response)
    }
}

type Socket = WebSocketStream<TokioIo<Upgraded>>;

async fn channels(upgraded: Upgraded, protocol: Protocol) -> (Sender, Receiver) {
    let config = WebSocketConfig::default()
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE))
        .write_buffer_size(0)
        .max_write_buffer_size(4 << 20);
    let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config)).await;
    let (sink, stream) = socket.split();
    let mut pings = interval(PING_EVERY);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pings.reset();
    (Sender { sink, pings }, Receiver { stream, protocol })
}

/// The client is gone.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
#[error("the client is gone")]
pub struct Gone;

/// The way to the client.
pub struct Sender {
    sink: SplitSink<Socket, Message>,
    pings: Interval,
}

impl Sender {
    /// Sends bytes on a channel, in several messages where they are many.
    pub async fn send(&mut self, channel: u8, bytes: &[u8]) -> Result<(), Gone> {
        if bytes.is_empty() {
            return self.message(channel, bytes).await;
        }
        for part in bytes.chunks(MAX_SENT) {
            self.message(channel, part).await?;
        }
        Ok(())
    }

    async fn message(&mut self, channel: u8, bytes: &[u8]) -> Result<(), Gone> {
        let mut message = BytesMut::with_capacity(1 + bytes.len());
        message.put_u8(channel);
        message.put_slice(bytes);
        self.write(Message::Binary(message.freeze())).await
    }

    /// Waits for something to send, and shows the client meanwhile that we are there.
    pub async fn wait_for<T>(&mut self, next: impl Future<Output = T>) -> Result<T, Gone> {
        let mut next = std::pin::pin!(next);
        loop {
            tokio::select! {
                value = &mut next => return Ok(value),
                _ = self.pings.tick() => self.write(Message::Ping(Bytes::new())).await?,
            }
        }
    }

    /// Says goodbye.
    pub async fn close(mut self) {
        let frame = CloseFrame { code: CloseCode::Normal, reason: "".into() };
        let _ = timeout(GOODBYE, self.sink.send(Message::Close(Some(frame)))).await;
        let _ = timeout(GOODBYE, self.sink.close()).await;
    }

    async fn write(&mut self, message: Message) -> Result<(), Gone> {
        match timeout(SEND_PATIENCE, self.sink.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Gone),
        }
    }
}

/// What a client says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Incoming {
    /// Bytes on a channel.
    Bytes(u8, Bytes),
    /// A channel ends.
    Ended(u8),
}

/// The way from the client.
pub struct Receiver {
    stream: SplitStream<Socket>,
    protocol: Protocol,
}

impl Receiver {
    /// What comes next; nothing once the client is gone.
    pub async fn next(&mut self) -> Option<Incoming> {
        loop {
            let message = timeout(SILENCE, self.stream.next()).await.ok()??.ok()?;
            match message {
                Message::Binary(bytes) => match incoming(bytes, self.protocol) {
                    Some(incoming) => return Some(incoming),
                    None => continue,
                },
                Message::Close(_) => return None,
                Message::Text(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
    }
}

fn incoming(mut message: Bytes, protocol: Protocol) -> Option<Incoming> {
    if message.is_empty() {
        return None;
    }
    let channel = message.split_to(1)[0];
    match (channel, protocol) {
        (CLOSE, Protocol::V5) => message.first().map(|channel| Incoming::Ended(*channel)),
        (channel, _) => Some(Incoming::Bytes(channel, message)),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(&[0, 1, 2], Protocol::V5, Some(Incoming::Bytes(0, Bytes::from_static(&[1, 2]))))]
    #[case(&[4], Protocol::V4, Some(Incoming::Bytes(4, Bytes::new())))]
    #[case(&[255, 0], Protocol::V5, Some(Incoming::Ended(0)))]
    #[case(&[255, 0], Protocol::V4, Some(Incoming::Bytes(255, Bytes::from_static(&[0]))))]
    #[case(&[255], Protocol::V5, None)]
    #[case(&[], Protocol::V5, None)]
    fn messages_are(
        #[case] message: &'static [u8],
        #[case] protocol: Protocol,
        #[case] expected: Option<Incoming>,
    ) {
        assert_eq!(incoming(Bytes::from_static(message), protocol), expected);
    }

    #[rstest]
    #[case("v4.channel.k8s.io, v5.channel.k8s.io", Some(Protocol::V5))]
    #[case("channel.k8s.io,v4.channel.k8s.io", Some(Protocol::V4))]
    #[case("base64.channel.k8s.io", None)]
    fn the_newest_version_is_spoken(#[case] offers: &'static str, #[case] expected: Option<Protocol>) {
        let mut headers = HeaderMap::new();
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(offers));
        assert_eq!(Protocol::offered(&headers), expected);
    }

    #[rstest]
    #[case("keep-alive, Upgrade", "WebSocket", true)]
    #[case("Upgrade", "SPDY/3.1", false)]
    #[case("close", "websocket", false)]
    fn upgrades_are_seen(
        #[case] connection: &'static str,
        #[case] upgrade: &'static str,
        #[case] expected: bool,
    ) {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONNECTION, HeaderValue::from_static(connection));
        headers.insert(header::UPGRADE, HeaderValue::from_static(upgrade));
        assert_eq!(is_upgrade(&headers), expected);
    }
}
