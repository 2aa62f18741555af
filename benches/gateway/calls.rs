//! Calls of the public API by a program with a token: commands, and keys typed into a terminal.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, client::IntoClientRequest},
};

/// Kubernetes' channel of what is typed.
const STDIN: u8 = 0;
/// Kubernetes' channel of what is shown.
const STDOUT: u8 = 1;

/// A program that may use one workspace.
pub struct Program {
    /// Address and port of the gateway.
    pub gateway: String,
    /// Path of the workspace.
    pub workspace: String,
    /// Its token.
    pub token: String,
}

impl Program {
    /// Time from the request for `true` to its result, so many times one after the other, over
    /// one connection.
    pub async fn commands(&self, count: usize) -> Vec<Duration> {
        let stream = self.connect().await;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("no HTTP");
        tokio::spawn(connection);
        self.command(&mut sender).await;
        let mut times = Vec::with_capacity(count);
        for _ in 0..count {
            times.push(self.command(&mut sender).await);
        }
        times
    }

    async fn command(&self, sender: &mut SendRequest<Full<Bytes>>) -> Duration {
        let request = Request::post(format!("{}/exec", self.workspace))
            .header(header::HOST, &self.gateway)
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from_static(br#"{"command": ["true"]}"#)))
            .expect("it is no request");
        let started = Instant::now();
        sender.ready().await.expect("the connection is closed");
        let answer = sender.send_request(request).await.expect("no answer");
        let status = answer.status();
        let body = answer.into_body().collect().await.expect("half an answer").to_bytes();
        let took = started.elapsed();
        let result: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
        assert!(status == StatusCode::OK && result["exitCode"] == 0, "{status} {body:?}");
        took
    }

    /// Time from a key typed into a terminal to its echo, so many times one after the other.
    pub async fn keys(&self, count: usize) -> Vec<Duration> {
        let mut terminal = self.terminal().await;
        // `cat` keeps the shell from drawing its line anew: the kernel echoes each key as it is.
        terminal.type_text("echo be''gin; exec cat\r").await;
        terminal.wait_for("begin\r\n").await;
        let mut times = Vec::with_capacity(count);
        for number in 0..count {
            // The kernel takes no line without end.
            if number % 1000 == 999 {
                terminal.type_text("\r").await;
                terminal.wait_for("\r\n").await;
            }
            let started = Instant::now();
            terminal.type_text("k").await;
            terminal.wait_for("k").await;
            times.push(started.elapsed());
        }
        times
    }

    async fn terminal(&self) -> Terminal {
        let address =
            format!("ws://{}{}/attach?terminal=bench&cols=80&rows=24", self.gateway, self.workspace);
        let mut request = address.into_client_request().expect("it is no address");
        let headers = request.headers_mut();
        let token = format!("Bearer {}", self.token);
        headers.insert(header::AUTHORIZATION, token.parse().expect("it is no token"));
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, http::HeaderValue::from_static("v5.channel.k8s.io"));
        let opening = tokio_tungstenite::client_async(request, self.connect().await);
        let (socket, _) = opening.await.expect("there is no terminal");
        Terminal { socket, unseen: Vec::new() }
    }

    async fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.gateway).await.expect("there is no gateway");
        stream.set_nodelay(true).expect("the connection is gone");
        stream
    }
}

/// A terminal that is looked at.
struct Terminal {
    socket: WebSocketStream<TcpStream>,
    unseen: Vec<u8>,
}

impl Terminal {
    async fn type_text(&mut self, text: &str) {
        let message: Vec<u8> = [&[STDIN], text.as_bytes()].concat();
        self.socket.send(Message::Binary(message.into())).await.expect("the terminal is gone");
    }

    /// Reads to the end of this text.
    async fn wait_for(&mut self, text: &str) {
        loop {
            if let Some(start) = self.unseen.windows(text.len()).position(|part| part == text.as_bytes()) {
                self.unseen.drain(..start + text.len());
                return;
            }
            match self.socket.next().await {
                Some(Ok(Message::Binary(bytes))) if bytes.first() == Some(&STDOUT) => {
                    self.unseen.extend_from_slice(&bytes[1..]);
                }
                Some(Ok(_)) => {}
                other => panic!("the terminal ended: {other:?}"),
            }
        }
    }
}
