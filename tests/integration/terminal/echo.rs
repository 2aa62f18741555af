//! A terminal that echoes, and whose connections can be cut.

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    body::Body,
    extract::{Query, Request, State},
    response::Response,
    routing::get,
};
use futures::{SinkExt, StreamExt};
use http::{StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, handshake::derive_accept_key, protocol::Role},
};

/// The terminal.
#[derive(Clone)]
pub struct Echo {
    output: Arc<watch::Sender<Vec<u8>>>,
    /// Counts up when all connections are cut.
    cuts: Arc<watch::Sender<u32>>,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    size: (u64, u64),
    joined: u32,
}

impl Default for Echo {
    fn default() -> Self {
        Self {
            output: Arc::new(watch::Sender::new(b"welcome".to_vec())),
            cuts: Arc::default(),
            seen: Arc::default(),
        }
    }
}

#[derive(Deserialize)]
struct Join {
    since: Option<usize>,
}

impl Echo {
    /// Where browsers join it.
    pub fn router(&self) -> Router {
        let path = "/api/v1/namespaces/{namespace}/workspaces/{workspace}/attach";
        Router::new().route(path, get(join)).with_state(self.clone())
    }

    /// Cuts every connection.
    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Adds output.
    pub fn write(&self, bytes: &[u8]) {
        self.output.send_modify(|output| output.extend_from_slice(bytes));
    }

    /// Columns and rows, as the browser said last.
    pub fn size(&self) -> (u64, u64) {
        self.seen.lock().unwrap().size
    }

    /// How often somebody joined.
    pub fn joined(&self) -> u32 {
        self.seen.lock().unwrap().joined
    }

    async fn serve(self, mut socket: WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>, since: usize) {
        self.seen.lock().unwrap().joined += 1;
        let position = json!({"terminal": "t1", "offset": since}).to_string();
        let mut first = vec![5];
        first.extend_from_slice(position.as_bytes());
        let _ = socket.send(Message::Binary(first.into())).await;
        let (mut output, mut cuts) = (self.output.subscribe(), self.cuts.subscribe());
        let mut sent = since;
        output.mark_changed();
        loop {
            tokio::select! {
                _ = output.changed() => {
                    let more = output.borrow_and_update()[sent..].to_vec();
                    sent += more.len();
                    let message: Vec<u8> = std::iter::once(1).chain(more).collect();
                    let _ = socket.send(Message::Binary(message.into())).await;
                }
                _ = cuts.changed() => return,
                message = socket.next() => match message {
                    Some(Ok(Message::Binary(bytes))) => match bytes.first() {
                        Some(0) => self.write(&bytes[1..]),
                        Some(4) => {
                            let size: Value = serde_json::from_slice(&bytes[1..]).unwrap();
                            self.seen.lock().unwrap().size =
                                (size["Width"].as_u64().unwrap(), size["Height"].as_u64().unwrap());
                        }
                        other => panic!("channel {other:?}"),
                    },
                    Some(Ok(_)) => {}
                    _ => return,
                },
            }
        }
    }
}

async fn join(State(echo): State<Echo>, Query(join): Query<Join>, mut request: Request) -> Response {
    let cookie = request.headers().get(header::COOKIE).and_then(|cookie| cookie.to_str().ok());
    if !cookie.unwrap_or_default().contains("berth-session=") {
        return Response::builder().status(StatusCode::UNAUTHORIZED).body(Body::empty()).unwrap();
    }
    let accept = derive_accept_key(request.headers()[header::SEC_WEBSOCKET_KEY].as_bytes());
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let upgraded = TokioIo::new(upgrade.await.unwrap());
        let socket = WebSocketStream::from_raw_socket(upgraded, Role::Server, None).await;
        echo.serve(socket, join.since.unwrap_or(0)).await;
    });
    Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_ACCEPT, accept)
        .header(header::SEC_WEBSOCKET_PROTOCOL, "v5.channel.k8s.io")
        .body(Body::empty())
        .unwrap()
}
