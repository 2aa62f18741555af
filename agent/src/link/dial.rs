//! One try to connect: TCP, TLS where the address says so, WebSocket.

use std::{io, sync::Arc, time::Duration};

use anyhow::Context;
use berth_link::transport::{self, ByteStream};
use http::{HeaderValue, StatusCode, header};
use rustls::{ClientConfig, pki_types::ServerName};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_tungstenite::tungstenite::{self, client::IntoClientRequest};
use url::{Host, Url};

use super::proxy::{self, Proxies};

/// Time for each part of a try: name and TCP, TLS, WebSocket.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why there is no connection.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
    /// A stable word: `GatewayUnreachable`, `TlsFailed`, `TokenRefused`, `Unknown`, `Gone`,
    /// `GatewayFailed` or `Broken`.
    pub code: String,
    /// What happened.
    pub message: String,
    /// What the gateway asked to wait, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
}

impl Refusal {
    fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into(), retry_after: None }
    }

    /// A connection that was there broke.
    pub fn broken(message: String) -> Self {
        Self::new("Broken", message)
    }

    /// Whether there will never be a connection.
    pub fn is_final(&self) -> bool {
        self.code == "Gone"
    }

    /// What the gateway asked to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after.map(Duration::from_secs)
    }
}

/// Bytes to and from the gateway.
pub trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Connection for S {}

/// Tries the gateway's addresses in turn.
pub struct Dialer {
    gateways: Vec<Url>,
    next: usize,
    token: HeaderValue,
    tls: Arc<ClientConfig>,
    proxies: Proxies,
}

impl Dialer {
    /// Fails when there is no address, or one that is none.
    pub fn new(
        gateways: &[String],
        token: &str,
        tls: Arc<ClientConfig>,
        proxies: Proxies,
    ) -> anyhow::Result<Self> {
        let gateways = gateways
            .iter()
            .map(|text| super::connect_path(text).parse::<Url>().with_context(|| text.clone()))
            .collect::<Result<Vec<_>, _>>()?;
        anyhow::ensure!(!gateways.is_empty(), "no address of the gateway is configured");
        let mut token = HeaderValue::from_str(&format!("Bearer {token}")).context("the token")?;
        token.set_sensitive(true);
        Ok(Self { gateways, next: 0, token, tls, proxies })
    }

    /// The address that was tried last.
    pub fn last(&self) -> &str {
        let last = (self.next + self.gateways.len() - 1) % self.gateways.len();
        self.gateways[last].as_str()
    }

    /// Connects to the next address.
    pub async fn dial(&mut self) -> Result<ByteStream<Box<dyn Connection>>, Refusal> {
        let gateway = self.gateways[self.next].clone();
        self.next = (self.next + 1) % self.gateways.len();
        let secure = match gateway.scheme() {
            "https" | "wss" => true,
            "http" | "ws" => false,
            other => {
                return Err(Refusal::new("GatewayUnreachable", format!("{other}: is no way to a gateway")));
            }
        };
        let place = format!(
            "{}:{}",
            gateway.host_str().unwrap_or_default(),
            gateway.port_or_known_default().unwrap_or_default()
        );
        let stream = match self.proxies.on_the_way_to(&place, secure) {
            Some(proxy) => in_time(proxy::through(&proxy, &place)).await,
            None => in_time(direct(&place)).await,
        };
        let stream =
            stream.map_err(|error| Refusal::new("GatewayUnreachable", format!("{place}: {error}")))?;
        let stream: Box<dyn Connection> = if secure {
            let connector = tokio_rustls::TlsConnector::from(Arc::clone(&self.tls));
            let secured = in_time(connector.connect(server_name(&gateway)?, stream)).await;
            Box::new(secured.map_err(|error| Refusal::new("TlsFailed", format!("{place}: {error}")))?)
        } else {
            stream
        };
        self.upgrade(&gateway, secure, stream).await
    }

    async fn upgrade(
        &self,
        gateway: &Url,
        secure: bool,
        stream: Box<dyn Connection>,
    ) -> Result<ByteStream<Box<dyn Connection>>, Refusal> {
        let mut address = gateway.clone();
        let _ = address.set_scheme(if secure { "wss" } else { "ws" });
        let mut request = address
            .as_str()
            .into_client_request()
            .map_err(|error| Refusal::new("GatewayUnreachable", error.to_string()))?;
        request.headers_mut().insert(header::AUTHORIZATION, self.token.clone());
        let config = Some(transport::websocket_config());
        let handshake = tokio_tungstenite::client_async_with_config(request, stream, config);
        match tokio::time::timeout(PATIENCE, handshake).await {
            Ok(Ok((socket, _))) => Ok(ByteStream::new(socket)),
            Ok(Err(tungstenite::Error::Http(response))) => Err(refused(&response)),
            Ok(Err(error)) => Err(Refusal::new("GatewayFailed", error.to_string())),
            Err(_) => {
                Err(Refusal::new("GatewayFailed", format!("no answer within {} s", PATIENCE.as_secs())))
            }
        }
    }
}

/// A connection to a host and port.
pub async fn direct(place: &str) -> io::Result<Box<dyn Connection>> {
    let stream = TcpStream::connect(place).await?;
    let _ = stream.set_nodelay(true);
    Ok(Box::new(stream))
}

/// What an answer means that is no agreement.
fn refused<B: AsRef<[u8]>>(response: &http::Response<Option<B>>) -> Refusal {
    let words = response.body().as_ref().map(|body| String::from_utf8_lossy(body.as_ref()).into_owned());
    let words = words.filter(|words| !words.trim().is_empty() && words.len() < 1024);
    let code = match response.status() {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => "TokenRefused",
        StatusCode::GONE => "Gone",
        StatusCode::SERVICE_UNAVAILABLE => "Unknown",
        _ => "GatewayFailed",
    };
    let retry_after = response.headers().get(header::RETRY_AFTER);
    Refusal {
        code: code.to_owned(),
        message: words.unwrap_or_else(|| format!("the gateway answered {}", response.status())),
        retry_after: retry_after.and_then(|value| value.to_str().ok()?.parse().ok()),
    }
}

fn server_name(gateway: &Url) -> Result<ServerName<'static>, Refusal> {
    let name = match gateway.host() {
        Some(Host::Domain(name)) => ServerName::try_from(name.to_owned()).ok(),
        Some(Host::Ipv4(address)) => Some(ServerName::from(std::net::IpAddr::from(address))),
        Some(Host::Ipv6(address)) => Some(ServerName::from(std::net::IpAddr::from(address))),
        None => None,
    };
    name.ok_or_else(|| Refusal::new("GatewayUnreachable", format!("{gateway} has no host")))
}

async fn in_time<T>(part: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(PATIENCE, part).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}
