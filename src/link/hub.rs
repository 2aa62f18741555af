//! The links that this replica holds.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use async_trait::async_trait;
use axum::body::Body;
use berth_link::{
    transport,
    wire::{AgentInfo, Event, system::Activity},
};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Limited};
use hyper::{
    body::{Frame, Incoming},
    client::conn::http2::SendRequest,
};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::{
        OwnedSemaphorePermit, Semaphore,
        broadcast::{self, error::RecvError},
    },
};
use tokio_util::sync::CancellationToken;

use super::{metrics::LinkMetrics, news, token::Epoch, work::Work};
use crate::{
    backend::BodyId,
    controller::agents::Link,
    gateway::{
        access::{AgentError, Agents, Tunnel},
        previews::preview::Traffic,
    },
};

/// Time that an agent has for the first answers.
const GREETING: Duration = Duration::from_secs(10);
/// Most bytes of an agent's answer about itself.
const GREETING_BYTES: usize = 16 << 10;
/// Time to open a connection to a port.
const OPENING: Duration = Duration::from_secs(10);
/// Reports that one who listens may be behind.
const REPORTS: usize = 4096;

/// What a gateway has to tell the leader.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Report {
    /// An agent has a link here.
    Linked(BodyId, Box<Link>),
    /// It no longer has.
    Lost(BodyId),
    /// It told something.
    Told(BodyId, Event),
}

/// The links of one replica.
pub struct Hub {
    identity: String,
    links: Mutex<HashMap<BodyId, Arc<Open>>>,
    /// Work in workspaces that this replica knows of; other replicas may hold their links.
    work: Mutex<HashMap<BodyId, Work>>,
    reports: broadcast::Sender<Report>,
    serial: AtomicU64,
    metrics: LinkMetrics,
}

/// How a connection of an agent ended.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("it does not speak HTTP/2: {0}")]
    NoHttp2(hyper::Error),
    #[error("it did not say who it is: {0:#}")]
    NotGreeted(anyhow::Error),
    #[error("it did not say who it is in time")]
    Silent,
    #[error("there is a link with a newer token")]
    Older,
    #[error("another link took its place, or it was revoked")]
    Closed,
    #[error("what it tells broke off: {0:#}")]
    News(anyhow::Error),
    #[error("the connection ended")]
    Connection,
}

impl End {
    /// A stable word, and whether it had a link.
    fn reason(&self) -> (&'static str, bool) {
        match self {
            Self::NoHttp2(_) => ("NoHttp2", false),
            Self::NotGreeted(_) => ("NotGreeted", false),
            Self::Silent => ("Silent", false),
            Self::Older => ("Older", false),
            Self::Closed => ("Closed", true),
            Self::News(_) => ("News", true),
            Self::Connection => ("Connection", true),
        }
    }
}

/// One link.
pub struct Open {
    id: BodyId,
    serial: u64,
    epoch: Epoch,
    sender: SendRequest<Body>,
    link: Link,
    /// So many requests at a time: as many as the agent takes.
    streams: Arc<Semaphore>,
    /// What it last told of its processes.
    processes: Mutex<Option<Event>>,
    closed: CancellationToken,
}

impl Hub {
    /// Without links; `identity` names this replica.
    pub fn new(identity: &str, metrics: LinkMetrics) -> Arc<Self> {
        Arc::new(Self {
            identity: identity.to_owned(),
            links: Mutex::default(),
            work: Mutex::default(),
            reports: broadcast::Sender::new(REPORTS),
            serial: AtomicU64::new(0),
            metrics,
        })
    }

    /// All that a leader has to know, and then what happens, without end. One who reads too
    /// slowly is told the present state again, and what is gone.
    pub fn reports(self: &Arc<Self>) -> impl Stream<Item = Report> + Send + use<> {
        let (known, receiver) = self.subscribe();
        let state = (Arc::clone(self), VecDeque::from(known), receiver, HashSet::new());
        futures::stream::unfold(state, |(hub, mut pending, mut receiver, mut told)| async move {
            loop {
                let report = match pending.pop_front() {
                    Some(report) => report,
                    None => match receiver.recv().await {
                        Ok(report) => report,
                        Err(RecvError::Lagged(_)) => {
                            let (known, anew) = hub.subscribe();
                            receiver = anew;
                            pending.extend(
                                told.iter().filter(|id| !hub.holds(**id)).map(|id| Report::Lost(*id)),
                            );
                            pending.extend(known);
                            continue;
                        }
                        Err(RecvError::Closed) => return None,
                    },
                };
                match &report {
                    Report::Linked(id, _) => told.insert(*id),
                    Report::Lost(id) => told.remove(id),
                    Report::Told(..) => false,
                };
                return Some((report, (hub, pending, receiver, told)));
            }
        })
    }

    /// The present state, and what happens from now on.
    pub fn subscribe(&self) -> (Vec<Report>, broadcast::Receiver<Report>) {
        let links = self.lock();
        let receiver = self.reports.subscribe();
        let mut known = Vec::new();
        for open in links.values() {
            known.push(Report::Linked(open.id, Box::new(open.link.clone())));
            let processes = open.processes.lock().unwrap_or_else(PoisonError::into_inner);
            known.extend(processes.iter().map(|event| Report::Told(open.id, event.clone())));
        }
        let work = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        known.extend(work.iter().map(|(id, work)| Report::Told(*id, Event::Activity(work.activity.clone()))));
        (known, receiver)
    }

    /// The links as they are now.
    pub fn links(&self) -> Vec<Arc<Open>> {
        self.lock().values().cloned().collect()
    }

    /// Whether an agent has a link here.
    pub fn holds(&self, id: BodyId) -> bool {
        self.lock().contains_key(&id)
    }

    /// Ends the link of an agent, if it has one: its workspace is gone, or its token was revoked.
    pub fn close(&self, id: BodyId) {
        self.work.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        if let Some(open) = self.lock().get(&id) {
            open.closed.cancel();
        }
    }

    /// Serves one agent until its connection ends. A newer link of the same workspace ends an
    /// older one.
    pub async fn serve<S>(&self, id: BodyId, epoch: Epoch, stream: S)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let handshake = transport::client().handshake::<_, Body>(TokioIo::new(stream));
        let end = match handshake.await {
            Ok((sender, connection)) => {
                let connection = tokio::spawn(connection);
                let closed = CancellationToken::new();
                let serial = self.serial.fetch_add(1, Ordering::Relaxed);
                let end = tokio::select! {
                    end = self.talk(id, epoch, sender, serial, closed.clone()) => end,
                    () = closed.cancelled() => End::Closed,
                };
                self.let_go(id, serial);
                connection.abort();
                end
            }
            Err(error) => End::NoHttp2(error),
        };
        match end.reason() {
            (reason, true) => self.metrics.disconnected(reason),
            (reason, false) => self.metrics.refused(reason),
        }
        tracing::info!(%id, reason = %end, "an agent's link ended");
    }

    /// An agent was refused before it had a link.
    pub fn refused(&self, reason: &str) {
        self.metrics.refused(reason);
    }

    /// Greets the agent, takes it in, and listens to it. Returns why that ended.
    async fn talk(
        &self,
        id: BodyId,
        epoch: Epoch,
        mut sender: SendRequest<Body>,
        serial: u64,
        closed: CancellationToken,
    ) -> End {
        let agent = match tokio::time::timeout(GREETING, greet(&mut sender)).await {
            Ok(Ok(agent)) => agent,
            Ok(Err(error)) => return End::NotGreeted(error),
            Err(_) => return End::Silent,
        };
        let open = Arc::new(Open {
            id,
            serial,
            epoch,
            sender,
            link: Link { agent, gateway: self.identity.clone(), since: Timestamp::now() },
            streams: Arc::new(Semaphore::new(transport::MAX_STREAMS as usize - 2)),
            processes: Mutex::default(),
            closed,
        });
        if !self.take_in(&open) {
            return End::Older;
        }
        tracing::info!(%id, version = open.link.agent.version, "an agent has a link");
        self.listen(&open).await
    }

    fn take_in(&self, open: &Arc<Open>) -> bool {
        let mut links = self.lock();
        if let Some(older) = links.get(&open.id) {
            if older.epoch > open.epoch {
                return false;
            }
            older.closed.cancel();
        }
        links.insert(open.id, Arc::clone(open));
        self.metrics.connected();
        self.metrics.linked(links.len());
        let _ = self.reports.send(Report::Linked(open.id, Box::new(open.link.clone())));
        true
    }

    fn let_go(&self, id: BodyId, serial: u64) {
        let mut links = self.lock();
        if links.get(&id).is_some_and(|present| present.serial == serial) {
            links.remove(&id);
            self.metrics.linked(links.len());
            let _ = self.reports.send(Report::Lost(id));
        }
    }

    /// Reads what the agent tells by itself, until the connection ends.
    async fn listen(&self, open: &Open) -> End {
        // One for the whole link: asking anew earns no more.
        let pace = Arc::new(news::Pace::new());
        loop {
            match news::of(open.sender.clone(), Arc::clone(&pace)).await {
                Ok(mut lines) => {
                    while let Some(line) = lines.next().await {
                        match line {
                            Ok(event) => self.told(open, event),
                            Err(error) => return End::News(error),
                        }
                    }
                }
                Err(error) => tracing::debug!(id = %open.id, "no events from the agent: {error:#}"),
            }
            if open.sender.is_closed() {
                return End::Connection;
            }
            // The supervisor behind the link may just be starting.
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }

    fn told(&self, open: &Open, event: Event) {
        match event {
            Event::Processes(_) => {
                *open.processes.lock().unwrap_or_else(PoisonError::into_inner) = Some(event.clone());
                let _ = self.reports.send(Report::Told(open.id, event));
            }
            Event::Activity(activity) => self.worked(open.id, &activity),
        }
    }

    /// Tells of work, at most once a minute for each workspace.
    fn worked(&self, id: BodyId, activity: &Activity) {
        let mut work = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        let known = work.entry(id).or_default();
        if known.take(activity) {
            let event = Event::Activity(known.activity.clone());
            let _ = self.reports.send(Report::Told(id, event));
        }
    }

    fn find(&self, id: BodyId) -> Result<Arc<Open>, AgentError> {
        self.lock().get(&id).cloned().ok_or(AgentError::NotConnected)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<BodyId, Arc<Open>>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn greet(sender: &mut SendRequest<Body>) -> anyhow::Result<AgentInfo> {
    sender.ready().await?;
    let answer = sender.send_request(Request::get("http://agent/v1/info").body(Body::empty())?).await?;
    anyhow::ensure!(answer.status() == StatusCode::OK, "it answered {}", answer.status());
    let body = Limited::new(answer.into_body(), GREETING_BYTES)
        .collect()
        .await
        .map_err(|error| anyhow::anyhow!("{error}"))?;
    let mut agent: AgentInfo = serde_json::from_slice(&body.to_bytes())?;
    let texts = [&mut agent.version, &mut agent.boot_id, &mut agent.user];
    let optional = [&mut agent.supervisor_version, &mut agent.build];
    for text in texts.into_iter().chain(optional.into_iter().flatten()) {
        text.truncate(text.floor_char_boundary(128));
    }
    if let Some(failed) = &mut agent.failed_update {
        failed.build.truncate(failed.build.floor_char_boundary(128));
        failed.message.truncate(failed.message.floor_char_boundary(2048));
    }
    Ok(agent)
}

impl Open {
    /// Whose it is.
    pub fn id(&self) -> BodyId {
        self.id
    }

    /// Sends a request to the agent and gives back its answer as it comes.
    pub async fn send(&self, request: Request<Body>) -> Result<Response<Body>, AgentError> {
        let permit = Arc::clone(&self.streams).try_acquire_owned().map_err(|_| AgentError::Busy)?;
        let answer = self.dispatch(addressed(request)).await?;
        Ok(answer.map(|body| Body::new(Held { body, _permit: permit })))
    }

    async fn dispatch(&self, request: Request<Body>) -> Result<Response<Incoming>, AgentError> {
        let broken = |error: hyper::Error| AgentError::Broken(error.to_string());
        let mut sender = self.sender.clone();
        sender.ready().await.map_err(broken)?;
        sender.send_request(request).await.map_err(broken)
    }

    async fn connect(&self, port: u16) -> Result<Tunnel, AgentError> {
        let permit = Arc::clone(&self.streams).try_acquire_owned().map_err(|_| AgentError::Busy)?;
        let broken = |words: String| AgentError::Broken(words);
        let uri = Uri::builder()
            .authority(format!("127.0.0.1:{port}"))
            .build()
            .map_err(|error| broken(error.to_string()))?;
        let mut request = Request::new(Body::empty());
        *request.method_mut() = Method::CONNECT;
        *request.uri_mut() = uri;
        let answer = tokio::time::timeout(OPENING, self.dispatch(request))
            .await
            .map_err(|_| AgentError::TimedOut(OPENING))??;
        match answer.status() {
            StatusCode::OK => {
                let upgraded = hyper::upgrade::on(answer).await.map_err(|error| broken(error.to_string()))?;
                Ok(Box::new(HeldTunnel { bytes: TokioIo::new(upgraded), _permit: permit }))
            }
            StatusCode::BAD_GATEWAY => Err(AgentError::PortClosed(port)),
            other => Err(broken(format!("it answered {other}"))),
        }
    }
}

/// The same request, to a server without a name of its own.
fn addressed(request: Request<Body>) -> Request<Body> {
    let (mut parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    parts.uri =
        Uri::builder().scheme("http").authority("agent").path_and_query(path).build().unwrap_or_default();
    parts.version = http::Version::HTTP_2;
    strip_connection_headers(&mut parts.headers);
    Request::from_parts(parts, body)
}

/// HTTP/2 has no use for these and refuses them.
fn strip_connection_headers(headers: &mut HeaderMap) {
    use http::header::{CONNECTION, HOST, TE, TRANSFER_ENCODING, UPGRADE};
    for name in [CONNECTION, HOST, TE, TRANSFER_ENCODING, UPGRADE] {
        headers.remove(name);
    }
}

impl Traffic for Hub {
    fn touched(&self, id: BodyId) {
        let activity = Activity { traffic_at: Some(Timestamp::now()), ..Activity::default() };
        self.worked(id, &activity);
    }
}

#[async_trait]
impl Agents for Hub {
    async fn request(&self, id: BodyId, request: Request<Body>) -> Result<Response<Body>, AgentError> {
        self.find(id)?.send(request).await
    }

    async fn connect(&self, id: BodyId, port: u16) -> Result<Tunnel, AgentError> {
        self.find(id)?.connect(port).await
    }
}

/// An answer's body, which counts as a request under way until it was read.
struct Held {
    body: Incoming,
    _permit: OwnedSemaphorePermit,
}

impl hyper::body::Body for Held {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut self.body).poll_frame(task)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.body.size_hint()
    }
}

/// A connection, which counts as a request under way until it is closed.
struct HeldTunnel {
    bytes: TokioIo<hyper::upgrade::Upgraded>,
    _permit: OwnedSemaphorePermit,
}

impl AsyncRead for HeldTunnel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.bytes).poll_read(task, buffer)
    }
}

impl AsyncWrite for HeldTunnel {
    fn poll_write(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.bytes).poll_write(task, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.bytes).poll_flush(task)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.bytes).poll_shutdown(task)
    }
}

#[cfg(test)]
#[path = "hub_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "hostile_tests.rs"]
mod hostile;
