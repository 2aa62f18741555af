//! Both faces with fakes around them: a cluster that knows two people, and an agent of a few
//! routes.

use std::{
    convert::Infallible,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use axum::{
    Json, Router,
    body::Body,
    extract::{Query, Request as AxumRequest},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use berth_link::wire::{
    AgentProblem,
    exec::{Ended, ExecRequest, ExecResult, ExecStart},
    frame::{Decoder, Frame, Kind},
};
use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::BodyExt;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use rstest::rstest;
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{self, Message, client::IntoClientRequest},
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::{
    Api, Controller, GROUP, Settings, VERSION,
    identity::Identity,
    objects::{DevServerView, Objects, WorkspaceView},
    problem::Problem,
    review::{Access, ReviewError, Reviewer, Reviews},
};
use crate::{
    api::PowerStatus,
    backend::{BodyId, LogRequest},
    controller::commands::{Answer, Command},
    gateway::access::{AgentError, Agents, Tunnel},
    link::token::Epoch,
};

mod real_agent;
mod requests;
mod rights;
mod sockets;

const PATIENCE: Duration = Duration::from_secs(20);
/// The body of a workspace whose agent is there.
const CONNECTED: BodyId = BodyId::from_bytes([7; 8]);
/// The body of one whose agent is not.
const ABSENT: BodyId = BodyId::from_bytes([8; 8]);

/// Who may do what; `guest` may until told otherwise.
struct People {
    guest: AtomicBool,
}

#[async_trait]
impl Reviews for People {
    async fn access(&self, identity: &Identity, access: &Access) -> Result<Result<(), String>, ReviewError> {
        let allowed = match identity.user.as_str() {
            "developer" => access.subresource != "exec-root",
            "administrator" => true,
            "reader" => access.verb == "get",
            "guest" => self.guest.load(Ordering::SeqCst),
            _ => false,
        };
        Ok(if allowed { Ok(()) } else { Err(String::new()) })
    }

    async fn token(&self, token: &str) -> Result<Option<Identity>, ReviewError> {
        Ok(token.strip_prefix("token-of-").map(identity))
    }
}

fn identity(user: &str) -> Identity {
    Identity { user: user.to_owned(), ..Identity::default() }
}

struct Known;

impl Objects for Known {
    fn workspace(&self, namespace: &str, name: &str) -> Option<Arc<WorkspaceView>> {
        let phase = match name {
            "web" => "Running",
            "asleep" => "Suspended",
            "young" => "Provisioning",
            _ => return None,
        };
        (namespace == "team").then(|| {
            Arc::new(WorkspaceView {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
                uid: "1".to_owned(),
                id: Some(if phase == "Running" { CONNECTED } else { ABSENT }),
                epoch: Epoch(1),
                phase: Some(phase.to_owned()),
                not_ready: None,
                deleting: false,
                user: "dev".to_owned(),
            })
        })
    }

    fn devserver(&self, namespace: &str, name: &str) -> Option<Arc<DevServerView>> {
        Some(Arc::new(DevServerView {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            uid: "2".to_owned(),
            workspace: "web".to_owned(),
            process: name.parse().ok()?,
            port: Some(3000),
            preview: None,
            deleting: name == "leaving",
        }))
    }
}

struct Leader;

#[async_trait]
impl Controller for Leader {
    async fn exec_root(
        &self,
        _: &WorkspaceView,
        by: &Identity,
        _: ExecRequest,
    ) -> Result<ExecResult, Problem> {
        Ok(ExecResult { stdout: format!("root for {}", by.user), ..ExecResult::default() })
    }

    async fn command(
        &self,
        workspace: &WorkspaceView,
        by: &Identity,
        command: Command,
    ) -> Result<Answer, Problem> {
        let (state, at) = (command.word().to_owned(), Time(Timestamp::UNIX_EPOCH));
        let reason = workspace.name.clone();
        Ok(Answer::Power(PowerStatus { state, reason, by: by.user.clone(), at, generation: 1 }))
    }

    async fn log(&self, workspace: &WorkspaceView, request: LogRequest) -> Result<Body, Problem> {
        Ok(Body::from(format!("{} {} {}\n", workspace.name, request.tail, request.follow)))
    }
}

/// An agent of a few routes. It notes what it was asked.
struct FakeAgent {
    routes: Router,
    asked: Arc<Mutex<Vec<String>>>,
}

#[async_trait]
impl Agents for FakeAgent {
    async fn request(&self, id: BodyId, request: Request<Body>) -> Result<Response, AgentError> {
        if id == ABSENT {
            return Err(AgentError::NotConnected);
        }
        let asked = format!("{} {}", request.method(), request.uri());
        self.asked.lock().unwrap().push(asked);
        Ok(self.routes.clone().oneshot(request).await.unwrap())
    }

    async fn connect(&self, _: BodyId, port: u16) -> Result<Tunnel, AgentError> {
        if port == 9 {
            return Err(AgentError::PortClosed(port));
        }
        let (near, far) = tokio::io::duplex(64 << 10);
        let service = hyper_util::service::TowerToHyperService::new(application());
        tokio::spawn(async move {
            hyper::server::conn::http1::Builder::new()
                .serve_connection(hyper_util::rt::TokioIo::new(far), service)
                .with_upgrades()
                .await
        });
        Ok(Box::new(near))
    }
}

/// What runs in the workspace: it says what it was asked, and echoes over WebSockets.
fn application() -> Router {
    Router::new().fallback(|mut request: AxumRequest| async move {
        let names: Vec<_> = request.headers().keys().map(ToString::to_string).collect();
        let body = format!("{} {} {}", request.method(), request.uri(), names.join(","));
        if let Some(key) = request.headers().get(header::SEC_WEBSOCKET_KEY) {
            let accept = tungstenite::handshake::derive_accept_key(key.as_bytes());
            tokio::spawn(echo(hyper::upgrade::on(&mut request)));
            let headers =
                [("connection", "upgrade"), ("upgrade", "websocket"), ("sec-websocket-accept", &accept)];
            return (StatusCode::SWITCHING_PROTOCOLS, headers).into_response();
        }
        ([("set-cookie", "a=b"), ("x-mine", "yes")], body).into_response()
    })
}

async fn echo(upgrade: hyper::upgrade::OnUpgrade) {
    let stream = hyper_util::rt::TokioIo::new(upgrade.await.unwrap());
    let role = tungstenite::protocol::Role::Server;
    let mut socket = WebSocketStream::from_raw_socket(stream, role, None).await;
    while let Some(Ok(message)) = socket.next().await {
        if message.is_text() {
            socket.send(message).await.unwrap();
        }
    }
}

fn agent_routes() -> Router {
    Router::new()
        .route("/v1/exec", post(agent_exec))
        .route("/v1/exec/stream", post(agent_stream))
        .route("/v1/terminals/{name}", post(agent_terminal))
        .route("/v1/processes/{id}/log", get(agent_log))
        .route("/v1/git/status", get(|| async { problem(409, "NoRepository", "there is no repository") }))
        .route("/v1/stats", get(|| async { "what?" }))
        .route("/v1/processes/{id}/restart", post(|| async { StatusCode::NO_CONTENT }))
        .route("/v1/files", get(agent_file).put(agent_write))
}

fn problem(status: u16, code: &str, message: &str) -> Response {
    (StatusCode::from_u16(status).unwrap(), Json(AgentProblem::new(code, message))).into_response()
}

async fn agent_exec(Json(request): Json<ExecRequest>) -> Json<ExecResult> {
    let stdout = format!("{:?} {:?}", request.command.argv, request.timeout_ms);
    Json(ExecResult { exit_code: Some(0), stdout, ..ExecResult::default() })
}

async fn agent_log(Query(query): Query<Vec<(String, String)>>) -> Response {
    let lines: Vec<_> = query.into_iter().map(|(name, value)| format!("{name} {value}\n")).collect();
    ([("berth-log-offset", "42"), ("content-type", "text/html")], lines.concat()).into_response()
}

async fn agent_file(Query(query): Query<Vec<(String, String)>>) -> Response {
    ([("content-type", "text/html"), ("etag", "\"7\"")], format!("{query:?}")).into_response()
}

async fn agent_write(Query(query): Query<Vec<(String, String)>>, body: Bytes) -> Response {
    if query.iter().any(|(name, value)| name == "path" && value == "/etc/passwd") {
        return problem(403, "PathNotAllowed", "this path is not yours");
    }
    ([("etag", "\"8\"")], format!("{}", body.len())).into_response()
}

/// Says the start, echoes input, tells sizes on standard error, and ends when input ends.
async fn agent_stream(body: Body) -> Response {
    frames_of(body, |frame| match frame.kind {
        Kind::Start => {
            let start: ExecStart = frame.parse().unwrap();
            if start.command.argv == ["missing"] {
                let problem = AgentProblem::new("CommandNotFound", "missing: not found");
                return vec![Frame::json(Kind::Problem, &problem).unwrap()];
            }
            vec![Frame::bytes(Kind::Stdout, format!("{:?}\n", start.command.argv))]
        }
        Kind::Stdin => vec![Frame::bytes(Kind::Stdout, frame.payload)],
        Kind::Resize => vec![Frame::bytes(Kind::Stderr, frame.payload)],
        Kind::StdinClosed => {
            vec![Frame::json(Kind::Ended, &Ended { exit_code: Some(3), ..Ended::default() }).unwrap()]
        }
        _ => Vec::new(),
    })
}

async fn agent_terminal(Query(query): Query<Vec<(String, String)>>, body: Body) -> Response {
    if query.iter().any(|(name, _)| name == "existing") {
        return problem(404, "TerminalNotFound", "there is no such terminal");
    }
    let position = json!({"terminal": "t1", "offset": 7});
    let first = vec![Frame::json(Kind::Position, &position).unwrap(), Frame::bytes(Kind::Stdout, "$ ")];
    frames_after(first, body, |frame| vec![Frame::bytes(Kind::Stdout, frame.payload)])
}

fn frames_of(body: Body, answer: impl FnMut(Frame) -> Vec<Frame> + Send + 'static) -> Response {
    frames_after(Vec::new(), body, answer)
}

fn frames_after(
    first: Vec<Frame>,
    body: Body,
    mut answer: impl FnMut(Frame) -> Vec<Frame> + Send + 'static,
) -> Response {
    let (sender, mut receiver) = mpsc::channel::<Result<Bytes, Infallible>>(64);
    tokio::spawn(async move {
        for frame in first {
            sender.send(Ok(frame.encode())).await.ok();
        }
        let mut decoder = Decoder::default();
        let mut parts = body.into_data_stream();
        while let Some(Ok(bytes)) = parts.next().await {
            decoder.push(&bytes);
            while let Some(frame) = decoder.next_frame().unwrap() {
                for frame in answer(frame) {
                    let last = matches!(frame.kind, Kind::Ended | Kind::Problem);
                    if sender.send(Ok(frame.encode())).await.is_err() || last {
                        return;
                    }
                }
            }
        }
    });
    Body::from_stream(futures::stream::poll_fn(move |task| receiver.poll_recv(task))).into_response()
}

pub struct World {
    api: Arc<Api>,
    asked: Arc<Mutex<Vec<String>>>,
    people: Arc<People>,
    stop: CancellationToken,
}

fn world() -> World {
    world_with(Settings::default())
}

fn world_with(settings: Settings) -> World {
    world_of(agent_routes(), settings)
}

fn world_of(routes: Router, settings: Settings) -> World {
    let asked = Arc::default();
    let agent = FakeAgent { routes, asked: Arc::clone(&asked) };
    let people = Arc::new(People { guest: AtomicBool::new(true) });
    let reviewer = Reviewer::new(people.clone());
    let stop = CancellationToken::new();
    let api =
        Api::new(Arc::new(agent), Arc::new(Known), reviewer, Arc::new(Leader), settings).until(stop.clone());
    World { api: Arc::new(api), asked, people, stop }
}

impl World {
    /// The aggregated face, where a header says who asks.
    fn router(&self) -> Router {
        self.api.clone().router().layer(middleware::from_fn(believe))
    }

    async fn request(&self, user: &str, method: &str, path: &str, body: &str) -> Response {
        let request = Request::builder()
            .method(method)
            .uri(format!("/apis/{GROUP}/{VERSION}/namespaces/team/{path}"))
            .header("test-user", user)
            .body(Body::from(body.to_owned()))
            .unwrap();
        self.router().oneshot(request).await.unwrap()
    }

    /// The answer as JSON; as a string where it is none.
    async fn asked(&self, user: &str, method: &str, path: &str, body: &str) -> (StatusCode, Value) {
        let response = self.request(user, method, path, body).await;
        let status = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let value = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
        (status, value)
    }

    async fn socket(&self, user: &str, path: &str) -> Result<Channels, tungstenite::Error> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = self.router();
        tokio::spawn(async move { axum::serve(listener, router).await });
        let url = format!("ws://{address}/apis/{GROUP}/{VERSION}/namespaces/team/{path}");
        let mut request = url.into_client_request().unwrap();
        let headers = request.headers_mut();
        headers.insert("test-user", user.parse().unwrap());
        let protocol = HeaderValue::from_static("v5.channel.k8s.io");
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
        let stream = TcpStream::connect(address).await.unwrap();
        let (socket, _) = tokio_tungstenite::client_async(request, stream).await?;
        Ok(Channels(socket))
    }
}

async fn believe(mut request: AxumRequest, next: Next) -> Response {
    if let Some(user) = request.headers_mut().remove("test-user") {
        request.extensions_mut().insert(identity(user.to_str().unwrap()));
    }
    next.run(request).await
}

/// A client's end of the channels.
struct Channels(WebSocketStream<TcpStream>);

impl Channels {
    async fn send(&mut self, channel: u8, bytes: &[u8]) {
        let message = [&[channel], bytes].concat();
        self.0.send(Message::Binary(message.into())).await.unwrap();
    }

    /// The next message with something in it.
    async fn next(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            match timeout(PATIENCE, self.0.next()).await.expect("nothing more came") {
                Some(Ok(Message::Binary(bytes))) if bytes.len() > 1 => {
                    return Some((bytes[0], bytes[1..].to_vec()));
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                Some(Ok(_)) => {}
            }
        }
    }

    async fn expect(&mut self, channel: u8, text: &str) {
        let (seen, bytes) = self.next().await.expect("it ended");
        assert_eq!((seen, String::from_utf8_lossy(&bytes).as_ref()), (channel, text));
    }

    async fn status(&mut self) -> Value {
        let (channel, bytes) = self.next().await.expect("it ended");
        assert_eq!(channel, 3);
        assert!(self.next().await.is_none(), "something came after the end");
        serde_json::from_slice(&bytes).unwrap()
    }
}

fn refusal(error: tungstenite::Error) -> u16 {
    match error {
        tungstenite::Error::Http(response) => response.status().as_u16(),
        other => panic!("{other}"),
    }
}
