//! The proxy between real clients and real dev servers, on real sockets. Only the agents are
//! replaced: their ports are this machine's.

mod availability;
mod framing;
mod gate;
mod passing;
mod streams;
mod websockets;

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use axum::body::Body;
use http::{Request, Response, StatusCode};
use hyper::{body::Incoming, client::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

use super::{
    Previews, Surroundings,
    gate::{TicketError, TicketHolder, Tickets},
    metrics::PreviewMetrics,
    preview::{Access, Availability, HostHeader, Preview, PreviewDirectory, Traffic},
    settings::PreviewSettings,
};
use crate::{
    backend::BodyId,
    gateway::access::{AgentError, Agents, Tunnel},
};

const WORKSPACE: BodyId = BodyId::from_bytes([7; 8]);
const HOST: &str = "web.localhost";
const LIMIT: Duration = Duration::from_secs(10);

/// Everything around the proxy.
#[derive(Default)]
struct World {
    previews: Mutex<HashMap<String, Arc<Preview>>>,
    touched: AtomicUsize,
    connections: AtomicUsize,
    trouble: Mutex<Option<fn() -> AgentError>>,
    say: Mutex<Say>,
    asked: AtomicUsize,
}

/// What the cluster says to whether Ann may see the preview.
#[derive(Default)]
enum Say {
    #[default]
    Yes,
    No,
    Nothing,
}

impl World {
    fn set(&self, preview: Preview) {
        self.previews.lock().unwrap().insert(preview.host.clone(), Arc::new(preview));
    }
}

impl PreviewDirectory for World {
    fn look_up(&self, host: &str) -> Option<Arc<Preview>> {
        self.previews.lock().unwrap().get(host).cloned()
    }
}

impl Traffic for World {
    fn touched(&self, id: BodyId) {
        assert_eq!(id, WORKSPACE);
        self.touched.fetch_add(1, Ordering::Relaxed);
    }
}

#[async_trait]
impl Tickets for World {
    async fn redeem(&self, ticket: &str, host: &str) -> Result<TicketHolder, TicketError> {
        match (ticket, host) {
            ("good", HOST) => Ok(TicketHolder { user: "ann".to_owned(), ..TicketHolder::default() }),
            ("later", _) => Err(TicketError::Unavailable("no answer".to_owned())),
            _ => Err(TicketError::Invalid),
        }
    }

    async fn may_see(&self, holder: &TicketHolder, preview: &Preview) -> Result<(), TicketError> {
        assert_eq!((holder.user.as_str(), preview.host.as_str()), ("ann", HOST));
        self.asked.fetch_add(1, Ordering::Relaxed);
        match *self.say.lock().unwrap() {
            Say::Yes => Ok(()),
            Say::No => Err(TicketError::Invalid),
            Say::Nothing => Err(TicketError::Unavailable("no answer".to_owned())),
        }
    }
}

#[async_trait]
impl Agents for World {
    async fn request(&self, _: BodyId, _: Request<Body>) -> Result<Response<Body>, AgentError> {
        Err(AgentError::NotConnected)
    }

    async fn connect(&self, id: BodyId, port: u16) -> Result<Tunnel, AgentError> {
        assert_eq!(id, WORKSPACE);
        if let Some(trouble) = *self.trouble.lock().unwrap() {
            return Err(trouble());
        }
        self.connections.fetch_add(1, Ordering::Relaxed);
        match TcpStream::connect(("127.0.0.1", port)).await {
            Ok(stream) => {
                stream.set_nodelay(true).unwrap();
                Ok(Box::new(stream))
            }
            Err(_) => Err(AgentError::PortClosed(port)),
        }
    }
}

/// A proxy that listens.
struct Proxy {
    world: Arc<World>,
    previews: Arc<Previews>,
    registry: prometheus::Registry,
    address: SocketAddr,
}

impl Proxy {
    /// With a preview [`HOST`] of a port.
    async fn before(port: u16) -> Self {
        Self::with(port, |_| {}).await
    }

    async fn with(port: u16, change: impl FnOnce(&mut PreviewSettings)) -> Self {
        let world = Arc::new(World::default());
        world.set(preview(port));
        let mut settings = PreviewSettings::new("localhost", vec![1; 32].into());
        change(&mut settings);
        let server = settings.server();
        let registry = prometheus::Registry::new();
        let surroundings = Surroundings {
            directory: world.clone(),
            agents: world.clone(),
            tickets: world.clone(),
            traffic: world.clone(),
            metrics: Arc::new(PreviewMetrics::register(&registry).unwrap()),
        };
        let previews = Arc::new(Previews::new(surroundings, settings));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = previews.clone();
        tokio::spawn(async move {
            while let Ok((stream, peer)) = listener.accept().await {
                let previews = serving.clone();
                let server = server.clone();
                stream.set_nodelay(true).unwrap();
                tokio::spawn(async move {
                    let service = service_fn(|request: Request<Incoming>| {
                        let previews = previews.clone();
                        async move {
                            Ok::<_, std::convert::Infallible>(
                                previews.serve(request.map(Body::new), peer, false).await,
                            )
                        }
                    });
                    let _ = server.serve_connection_with_upgrades(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { world, previews, registry, address }
    }

    /// A connection that speaks HTTP/1.1.
    async fn connect(&self) -> http1::SendRequest<Body> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection.with_upgrades());
        sender
    }

    /// Sends one request on a connection of its own.
    async fn ask(&self, request: Request<Body>) -> Response<Incoming> {
        let answer = self.connect().await.send_request(request);
        tokio::time::timeout(LIMIT, answer).await.unwrap().unwrap()
    }

    /// Sends bytes as they are and reads the first line of the answer.
    async fn send_raw(&self, bytes: &str) -> String {
        use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(bytes.as_bytes()).await.unwrap();
        let mut line = String::new();
        let mut reader = BufReader::new(stream);
        tokio::time::timeout(LIMIT, reader.read_line(&mut line)).await.unwrap().unwrap();
        line.trim().to_owned()
    }

    fn metrics(&self) -> String {
        prometheus::TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap()
    }
}

fn preview(port: u16) -> Preview {
    Preview {
        host: HOST.to_owned(),
        workspace: WORKSPACE,
        port,
        access: Access::Link,
        expires_at: None,
        host_header: HostHeader::Rewrite,
        namespace: "team".to_owned(),
        workspace_name: "one".to_owned(),
        devserver: "web".to_owned(),
        availability: Availability::Available,
    }
}

/// A dev server; returns its port.
async fn dev_server<F, Fut>(answer: F) -> u16
where
    F: Fn(Request<Incoming>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Response<Body>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).unwrap();
            let answer = answer.clone();
            tokio::spawn(async move {
                let service = service_fn(move |request| {
                    let answer = answer(request);
                    async move { Ok::<_, std::convert::Infallible>(answer.await) }
                });
                let server = hyper::server::conn::http1::Builder::new();
                let _ = server.serve_connection(TokioIo::new(stream), service).with_upgrades().await;
            });
        }
    });
    port
}

/// A dev server that tells what it was asked, a header a line.
async fn mirror() -> u16 {
    dev_server(|request| async move {
        let mut lines = vec![format!("{} {}", request.method(), request.uri())];
        for (name, value) in request.headers() {
            lines.push(format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())));
        }
        Response::new(Body::from(lines.join("\n")))
    })
    .await
}

fn get(path: &str) -> http::request::Builder {
    Request::get(path).header("host", HOST)
}

fn nothing(builder: http::request::Builder) -> Request<Body> {
    builder.body(Body::empty()).unwrap()
}

async fn text(response: Response<Incoming>) -> String {
    let body = axum::body::to_bytes(Body::new(response.into_body()), 1 << 20);
    String::from_utf8(tokio::time::timeout(LIMIT, body).await.unwrap().unwrap().to_vec()).unwrap()
}

/// Looks until the condition holds.
async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < LIMIT, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn status(response: &Response<Incoming>) -> u16 {
    response.status().as_u16()
}

#[tokio::test]
async fn hosts_are_told_apart() {
    let proxy = Proxy::before(1).await;
    for (host, expected) in [
        ("web.localhost", true),
        ("WEB.localhost:8080", true),
        ("web.localhost.", true),
        ("localhost", false),
        ("localhost:8080", false),
        (".localhost", false),
        ("a.b.localhost", false),
        ("weblocalhost", false),
        ("example.com", false),
    ] {
        assert_eq!(proxy.previews.is_preview_host(host), expected, "{host}");
    }
    assert!(proxy.previews.is_for_preview(&nothing(get("/"))));
    assert!(!proxy.previews.is_for_preview(&nothing(get("http://other.localhost/"))));
}

#[tokio::test]
async fn answers_are_counted_by_their_class() {
    let proxy = Proxy::before(mirror().await).await;
    assert_eq!(proxy.ask(nothing(get("/"))).await.status(), StatusCode::OK);
    assert_eq!(status(&proxy.ask(nothing(Request::get("/").header("host", "no.localhost"))).await), 404);
    let metrics = proxy.metrics();
    assert!(metrics.contains("berth_preview_requests_total{class=\"2xx\"} 1"), "{metrics}");
    assert!(metrics.contains("berth_preview_requests_total{class=\"4xx\"} 1"), "{metrics}");
}
