//! The HTTP connections to a daemon, over whatever its endpoint is.
//!
//! Bollard's own constructors insist that a Unix socket exists, trust the system's certificate
//! authorities besides the configured one, and know no SSH client but the `ssh` command. So all
//! three kinds of endpoint are dialled here and handed to it as one transport.

use std::{
    io,
    path::PathBuf,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bollard::{API_DEFAULT_VERSION, BollardRequest, Docker};
use hyper_util::{
    client::legacy::{
        Client,
        connect::{Connected, Connection},
    },
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
};

use super::{ssh::SshDialer, tls};
use crate::config::{DockerEndpoint, DockerHost, docker::DockerTls};

/// Every call has its own limit, see [`super::host`]; this one only must not come first.
const NO_LIMIT_SECONDS: u64 = 7 * 24 * 3600;
const IDLE_CONNECTION: Duration = Duration::from_secs(30);

/// How a host is reached.
pub(super) enum Dialer {
    /// A socket on this machine.
    Unix(PathBuf),
    /// TCP with mutual TLS.
    Tls { host: String, port: u16, files: DockerTls },
    /// A socket on another machine.
    Ssh(SshDialer),
}

impl Dialer {
    /// The dialer for a configured host; words about what is missing otherwise.
    pub(super) fn new(host: &DockerHost) -> Result<Self, &'static str> {
        Ok(match (&host.endpoint, &host.tls, &host.ssh) {
            (DockerEndpoint::Unix(path), ..) => Self::Unix(path.clone()),
            (DockerEndpoint::Tcp { host, port }, Some(files), _) => {
                Self::Tls { host: host.clone(), port: *port, files: files.clone() }
            }
            (DockerEndpoint::Tcp { .. }, None, _) => return Err("tcp:// needs tls"),
            (DockerEndpoint::Ssh { user, host, port }, _, Some(files)) => {
                Self::Ssh(SshDialer::new(user, host, *port, files))
            }
            (DockerEndpoint::Ssh { .. }, _, None) => return Err("ssh:// needs ssh"),
        })
    }

    async fn dial(&self) -> io::Result<Wire> {
        Ok(match self {
            Self::Unix(path) => Wire(Box::new(UnixStream::connect(path).await?)),
            Self::Tls { host, port, files } => {
                let stream = TcpStream::connect((host.as_str(), *port)).await?;
                stream.set_nodelay(true)?;
                Wire(Box::new(tls::handshake(host, stream, files).await?))
            }
            Self::Ssh(dialer) => Wire(Box::new(dialer.dial().await?)),
        })
    }
}

/// A Docker client over a dialer. Connects when it is first used.
pub(super) fn client(dialer: Dialer) -> Result<Docker, bollard::errors::Error> {
    let dialer = Arc::new(dialer);
    let connector = tower::service_fn(move |_: http::Uri| {
        let dialer = Arc::clone(&dialer);
        Box::pin(async move { dialer.dial().await.map(TokioIo::new) })
    });
    let client = Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_CONNECTION)
        .pool_max_idle_per_host(4)
        .build(connector);
    Docker::connect_with_custom_transport(
        move |request: BollardRequest| {
            let answer = client.request(request);
            async move { answer.await.map_err(bollard::errors::Error::from) }
        },
        Some("http://docker"),
        NO_LIMIT_SECONDS,
        API_DEFAULT_VERSION,
    )
}

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// One open connection.
struct Wire(Box<dyn Duplex>);

impl Connection for Wire {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(yaml: &str) -> DockerHost {
        serde_yaml::from_str(yaml).unwrap()
    }

    #[test]
    fn each_endpoint_has_its_dialer() {
        let unix = host("{name: a, endpoint: 'unix:///run/docker.sock'}");
        assert!(matches!(Dialer::new(&unix), Ok(Dialer::Unix(path)) if path.ends_with("run/docker.sock")));
        let tls = "{caFile: ca, certFile: cert, keyFile: key}";
        let tcp = host(&format!("{{name: a, endpoint: 'tcp://box', tls: {tls}}}"));
        assert!(matches!(Dialer::new(&tcp), Ok(Dialer::Tls { port: 2376, .. })));
        let ssh = host("{name: a, endpoint: 'ssh://me@box', ssh: {keyFile: key, knownHostsFile: known}}");
        assert!(matches!(Dialer::new(&ssh), Ok(Dialer::Ssh(_))));
    }

    #[test]
    fn nothing_is_dialled_without_its_keys() {
        assert!(Dialer::new(&host("{name: a, endpoint: 'tcp://box'}")).is_err());
        assert!(Dialer::new(&host("{name: a, endpoint: 'ssh://me@box'}")).is_err());
    }
}
