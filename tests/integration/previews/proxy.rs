//! The proxy on a socket, with agents whose ports are this machine's.

use std::{convert::Infallible, net::SocketAddr, sync::Arc};

use async_trait::async_trait;
use axum::body::Body;
use berth::{
    backend::BodyId,
    gateway::{
        access::{AgentError, Agents, Tunnel},
        previews::{
            Previews, Surroundings,
            gate::{TicketError, TicketHolder, Tickets},
            metrics::PreviewMetrics,
            preview::{Access, Availability, HostHeader, Preview, PreviewDirectory, Traffic},
            settings::PreviewSettings,
        },
    },
};
use http::{Method, Request, Response};
use hyper::{body::Incoming, client::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

const HOST: &str = "web.previews.example";

/// A proxy that listens, with one preview.
pub struct Proxy {
    /// Where.
    pub address: SocketAddr,
}

impl Proxy {
    /// Of a port of this machine.
    pub async fn before(port: u16) -> Self {
        let local = Arc::new(Local { port });
        let surroundings = Surroundings {
            directory: local.clone(),
            agents: local.clone(),
            tickets: local.clone(),
            traffic: local,
            metrics: Arc::new(PreviewMetrics::register(&prometheus::Registry::new()).unwrap()),
        };
        let settings = PreviewSettings::new("previews.example", vec![1; 32].into());
        let server = settings.server();
        let previews = Arc::new(Previews::new(surroundings, settings));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, peer)) = listener.accept().await {
                let (previews, server) = (previews.clone(), server.clone());
                tokio::spawn(async move {
                    let service = service_fn(|request: Request<Incoming>| {
                        let previews = previews.clone();
                        async move {
                            Ok::<_, Infallible>(previews.serve(request.map(Body::new), peer, false).await)
                        }
                    });
                    let _ = server.serve_connection_with_upgrades(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { address }
    }

    /// Host and port as a browser knows them.
    pub fn site(&self) -> String {
        format!("{HOST}:{}", self.address.port())
    }

    /// Asks for a path; returns status code and text.
    pub async fn ask(&self, method: Method, path: &str) -> (u16, String) {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let request = Request::builder().method(method).uri(path).header("host", self.site());
        let response = sender.send_request(request.body(Body::empty()).unwrap()).await.unwrap();
        let status = response.status().as_u16();
        let bytes = axum::body::to_bytes(Body::new(response.into_body()), 64 << 20).await.unwrap();
        (status, String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// Everything around the proxy.
struct Local {
    port: u16,
}

impl PreviewDirectory for Local {
    fn look_up(&self, host: &str) -> Option<Arc<Preview>> {
        (host == HOST).then(|| {
            Arc::new(Preview {
                host: HOST.to_owned(),
                workspace: BodyId::from_bytes([1; 8]),
                port: self.port,
                access: Access::Link,
                expires_at: None,
                host_header: HostHeader::Rewrite,
                namespace: "team".to_owned(),
                workspace_name: "one".to_owned(),
                devserver: "web".to_owned(),
                availability: Availability::Available,
            })
        })
    }
}

#[async_trait]
impl Agents for Local {
    async fn request(&self, _: BodyId, _: Request<Body>) -> Result<Response<Body>, AgentError> {
        Err(AgentError::NotConnected)
    }

    async fn connect(&self, _: BodyId, port: u16) -> Result<Tunnel, AgentError> {
        match TcpStream::connect(("127.0.0.1", port)).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(_) => Err(AgentError::PortClosed(port)),
        }
    }
}

#[async_trait]
impl Tickets for Local {
    async fn redeem(&self, _: &str, _: &str) -> Result<TicketHolder, TicketError> {
        Err(TicketError::Invalid)
    }

    async fn may_see(&self, _: &TicketHolder, _: &Preview) -> Result<(), TicketError> {
        Err(TicketError::Invalid)
    }
}

impl Traffic for Local {
    fn touched(&self, _: BodyId) {}
}
