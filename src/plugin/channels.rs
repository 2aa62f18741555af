//! Many streams in one WebSocket, as Kubernetes does it: each message begins with a byte for its
//! channel.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::{Bytes, BytesMut};
use futures::{SinkExt, StreamExt, stream::SplitSink, stream::SplitStream};
use http::{HeaderMap, HeaderName, Method, StatusCode, header};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use kube::client::Body;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, handshake::derive_accept_key, protocol::Role},
};

use super::{client::Subresources, exit::Failure};

/// Standard input.
pub const STDIN: u8 = 0;
/// Standard output.
pub const STDOUT: u8 = 1;
/// Standard error.
pub const STDERR: u8 = 2;
/// How it ended.
pub const STATUS: u8 = 3;
/// The size of the terminal.
pub const RESIZE: u8 = 4;
/// Where in a terminal's output the bytes that follow stand.
pub const POSITION: u8 = 5;
/// Names a channel that ends.
const CLOSE: u8 = 255;
const PROTOCOL: &str = "v5.channel.k8s.io";

type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// Opens a WebSocket with channels.
pub async fn open(
    to: &Subresources<'_>,
    subresource: &str,
    query: &[(&str, String)],
) -> Result<(Sender, Receiver), Failure> {
    let key = STANDARD.encode(rand::random::<[u8; 16]>());
    let mut request = to.request(Method::GET, subresource, query, Body::empty())?;
    for (name, value) in [
        (header::CONNECTION, "Upgrade"),
        (header::UPGRADE, "websocket"),
        (header::SEC_WEBSOCKET_VERSION, "13"),
        (header::SEC_WEBSOCKET_PROTOCOL, PROTOCOL),
        (header::SEC_WEBSOCKET_KEY, &key),
    ] {
        let value = value.parse().map_err(|_| Failure::failed("a header can not be made"))?;
        request.headers_mut().insert(name, value);
    }
    let answer = to.send(request).await?;
    if !agreed(answer.status(), answer.headers(), &key) {
        return Err(Failure::failed("the server did not agree to a WebSocket of v5.channel.k8s.io"));
    }
    let upgraded = hyper::upgrade::on(answer)
        .await
        .map_err(|error| Failure::failed(format!("the connection broke: {error}")))?;
    let (sink, stream) = Socket::from_raw_socket(TokioIo::new(upgraded), Role::Client, None).await.split();
    Ok((Sender { sink }, Receiver { stream }))
}

/// Whether the server agreed to what was asked for.
fn agreed(status: StatusCode, headers: &HeaderMap, key: &str) -> bool {
    let holds = |name: HeaderName, wanted: &str| {
        headers.get(name).is_some_and(|value| value.as_bytes() == wanted.as_bytes())
    };
    status == StatusCode::SWITCHING_PROTOCOLS
        && holds(header::SEC_WEBSOCKET_ACCEPT, &derive_accept_key(key.as_bytes()))
        && holds(header::SEC_WEBSOCKET_PROTOCOL, PROTOCOL)
}

/// The connection is gone.
#[derive(Debug)]
pub struct Gone;

impl From<Gone> for Failure {
    fn from(_: Gone) -> Self {
        Self::failed("the connection broke")
    }
}

/// The sending half.
pub struct Sender {
    sink: SplitSink<Socket, Message>,
}

impl Sender {
    /// Sends bytes on a channel.
    pub async fn send(&mut self, channel: u8, bytes: &[u8]) -> Result<(), Gone> {
        let mut message = BytesMut::with_capacity(bytes.len() + 1);
        message.extend_from_slice(&[channel]);
        message.extend_from_slice(bytes);
        self.sink.send(Message::Binary(message.freeze())).await.map_err(|_| Gone)
    }

    /// Says that a channel has come to its end.
    pub async fn end(&mut self, channel: u8) -> Result<(), Gone> {
        self.send(CLOSE, &[channel]).await
    }

    /// Says the size of the terminal.
    pub async fn resize(&mut self, size: berth_link::wire::terminal::Size) -> Result<(), Gone> {
        let text = serde_json::json!({"Width": size.cols, "Height": size.rows}).to_string();
        self.send(RESIZE, text.as_bytes()).await
    }
}

/// The receiving half.
pub struct Receiver {
    stream: SplitStream<Socket>,
}

impl Receiver {
    /// The next bytes with their channel; none when the connection is gone.
    pub async fn next(&mut self) -> Option<(u8, Bytes)> {
        loop {
            let mut bytes = match self.stream.next().await?.ok()? {
                Message::Binary(bytes) => bytes,
                Message::Text(text) => Bytes::from(text),
                Message::Close(_) => return None,
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => continue,
            };
            if !bytes.is_empty() {
                let payload = bytes.split_off(1);
                return Some((bytes[0], payload));
            }
        }
    }
}
