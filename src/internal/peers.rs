//! Reaching agents whose links other replicas hold, and answering those replicas.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use async_trait::async_trait;
use axum::{body::Body, response::Response};
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{net::TcpStream, sync::watch};

use super::certificates::GATEWAY;
use crate::{
    backend::BodyId,
    gateway::access::{AgentError, Agents, Tunnel},
    link::hub::Hub,
};

/// Names the workspace whose agent a request is for.
const WORKSPACE: &str = "berth-workspace";
/// Says that an answer is the other replica's own, and why it could not ask the agent.
const ERROR: &str = "berth-agent-error";
/// Time to connect to another replica.
const CONNECTING: Duration = Duration::from_secs(5);
/// Time for another replica to open a connection to a port.
const OPENING: Duration = Duration::from_secs(15);
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 256 << 20;

/// How this process shows itself to other replicas; it changes when the certificate does.
pub type ClientTls = watch::Receiver<Arc<ClientConfig>>;

/// The agents, whichever replica holds their links.
pub struct Everywhere {
    hub: Arc<Hub>,
    tls: ClientTls,
    held: RwLock<HashMap<BodyId, String>>,
    connections: Mutex<HashMap<String, SendRequest<Body>>>,
}

impl Everywhere {
    /// The links of this replica, and nobody else's yet.
    pub fn new(hub: Arc<Hub>, tls: ClientTls) -> Self {
        Self { hub, tls, held: RwLock::default(), connections: Mutex::default() }
    }

    /// Notes which replica holds the link of an agent.
    pub fn note(&self, id: BodyId, address: Option<String>) {
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        match address {
            Some(address) => held.insert(id, address),
            None => held.remove(&id),
        };
    }

    fn holder(&self, id: BodyId) -> Option<String> {
        self.held.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    async fn peer(&self, id: BodyId) -> Result<SendRequest<Body>, AgentError> {
        let address = self.holder(id).ok_or(AgentError::NotConnected)?;
        let open = self.connections.lock().unwrap_or_else(PoisonError::into_inner).get(&address).cloned();
        if let Some(open) = open.filter(|open| !open.is_closed()) {
            return Ok(open);
        }
        let connecting = connect(&address, Arc::clone(&self.tls.borrow()), GATEWAY);
        let sender = tokio::time::timeout(CONNECTING, connecting)
            .await
            .map_err(|_| AgentError::TimedOut(CONNECTING))?
            .map_err(|error| AgentError::Broken(format!("replica {address}: {error:#}")))?;
        self.connections.lock().unwrap_or_else(PoisonError::into_inner).insert(address, sender.clone());
        Ok(sender)
    }

    async fn forward(&self, id: BodyId, request: Request<Body>) -> Result<Response, AgentError> {
        let broken = |error: hyper::Error| AgentError::Broken(error.to_string());
        let mut peer = self.peer(id).await?;
        peer.ready().await.map_err(broken)?;
        let answer = peer.send_request(marked(request, id)?).await.map_err(broken)?;
        match answer.headers().get(ERROR) {
            Some(code) => Err(parse(code)),
            None => Ok(answer.map(Body::new)),
        }
    }
}

#[async_trait]
impl Agents for Everywhere {
    async fn request(&self, id: BodyId, request: Request<Body>) -> Result<Response, AgentError> {
        if self.hub.holds(id) {
            return self.hub.request(id, request).await;
        }
        self.forward(id, request).await
    }

    async fn connect(&self, id: BodyId, port: u16) -> Result<Tunnel, AgentError> {
        if self.hub.holds(id) {
            return self.hub.connect(id, port).await;
        }
        let broken = |words: String| AgentError::Broken(words);
        let mut request = Request::new(Body::empty());
        *request.method_mut() = Method::CONNECT;
        *request.uri_mut() = Uri::builder()
            .authority(format!("127.0.0.1:{port}"))
            .build()
            .map_err(|error| broken(error.to_string()))?;
        let answer = tokio::time::timeout(OPENING, self.forward(id, request))
            .await
            .map_err(|_| AgentError::TimedOut(OPENING))?
            .map_err(|error| {
                if let AgentError::PortClosed(_) = error { AgentError::PortClosed(port) } else { error }
            })?;
        if answer.status() != StatusCode::OK {
            return Err(broken(format!("the replica that holds its link answered {}", answer.status())));
        }
        let upgraded = hyper::upgrade::on(answer).await.map_err(|error| broken(error.to_string()))?;
        Ok(Box::new(TokioIo::new(upgraded)))
    }
}

/// Opens an HTTP/2 connection to another part of the installation, which must have this name.
pub async fn connect(
    address: &str,
    tls: Arc<ClientConfig>,
    name: &'static str,
) -> anyhow::Result<SendRequest<Body>> {
    let stream = TcpStream::connect(address).await?;
    let _ = stream.set_nodelay(true);
    let stream = tokio_rustls::TlsConnector::from(tls).connect(ServerName::try_from(name)?, stream).await?;
    let mut builder = berth_link::transport::client();
    builder.initial_stream_window_size(STREAM_WINDOW).initial_connection_window_size(CONNECTION_WINDOW);
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

fn marked(request: Request<Body>, id: BodyId) -> Result<Request<Body>, AgentError> {
    let broken = |error: http::Error| AgentError::Broken(error.to_string());
    let (mut parts, body) = request.into_parts();
    if parts.method != Method::CONNECT {
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        parts.uri =
            Uri::builder().scheme("https").authority(GATEWAY).path_and_query(path).build().map_err(broken)?;
    }
    parts.version = http::Version::HTTP_2;
    parts.headers.remove(http::header::HOST);
    let id = HeaderValue::from_str(&id.to_string()).map_err(|error| broken(error.into()))?;
    parts.headers.insert(WORKSPACE, id);
    Ok(Request::from_parts(parts, body))
}

/// Whether a request of another replica is for an agent.
pub fn is_for_agent(request: &Request<Body>) -> bool {
    request.headers().contains_key(WORKSPACE)
}

/// Answers another replica with what an agent whose link is here says.
pub async fn answer(hub: Arc<Hub>, mut request: Request<Body>) -> Response {
    let id = request.headers_mut().remove(WORKSPACE);
    let Some(id) = id.and_then(|id| id.to_str().ok()?.parse::<BodyId>().ok()) else {
        return refusal(&AgentError::NotConnected);
    };
    if request.method() != Method::CONNECT {
        return hub.request(id, request).await.unwrap_or_else(|error| refusal(&error));
    }
    let Some(port) = request.uri().port_u16() else { return refusal(&AgentError::NotConnected) };
    match hub.connect(id, port).await {
        Ok(mut tunnel) => {
            let upgrade = hyper::upgrade::on(request);
            tokio::spawn(async move {
                if let Ok(upgraded) = upgrade.await {
                    let mut peer = TokioIo::new(upgraded);
                    let _ = tokio::io::copy_bidirectional(&mut peer, &mut tunnel).await;
                }
            });
            Response::new(Body::empty())
        }
        Err(error) => refusal(&error),
    }
}

fn refusal(error: &AgentError) -> Response {
    let code = match error {
        AgentError::NotConnected => "NotConnected",
        AgentError::Broken(_) => "Broken",
        AgentError::TimedOut(_) => "TimedOut",
        AgentError::Busy => "Busy",
        AgentError::PortClosed(_) => "PortClosed",
    };
    let mut response = Response::new(Body::from(error.to_string()));
    *response.status_mut() = StatusCode::BAD_GATEWAY;
    response.headers_mut().insert(ERROR, HeaderValue::from_static(code));
    response
}

fn parse(code: &HeaderValue) -> AgentError {
    match code.to_str().unwrap_or_default() {
        "NotConnected" => AgentError::NotConnected,
        "TimedOut" => AgentError::TimedOut(OPENING),
        "Busy" => AgentError::Busy,
        "PortClosed" => AgentError::PortClosed(0),
        _ => AgentError::Broken("the replica that holds its link could not ask it".to_owned()),
    }
}
