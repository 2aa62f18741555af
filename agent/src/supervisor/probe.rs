//! Whether a port of this container is open, and whether it answers.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use axum::body::Body;
use berth_link::wire::process::Health;
use http::{Request, header};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};
use tokio_util::task::AbortOnDropHandle;

/// Time to connect to a port of this container, where nothing else is said.
const CONNECT: Duration = Duration::from_millis(500);

/// Least time for an answer.
const LEAST: Duration = Duration::from_millis(50);

/// What a look at a port showed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Look {
    /// Whether it is open.
    pub open: bool,
    /// What is wrong, where something is.
    pub failure: Option<String>,
}

/// Whether somebody listens on a port, on IPv4 or IPv6.
pub async fn is_open(port: u16) -> bool {
    timeout(CONNECT, connect(port)).await.is_ok_and(|stream| stream.is_some())
}

/// Whether the process behind a port is well.
pub async fn look(port: u16, health: &Health) -> Look {
    let Ok(Some(stream)) = timeout(health.timeout.max(CONNECT), connect(port)).await else {
        return Look { open: false, failure: Some(format!("port {port} is closed")) };
    };
    let Some(path) = &health.path else { return Look { open: true, failure: None } };
    let failure = match timeout(health.timeout.max(LEAST), get(stream, port, path)).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(format!("no answer to GET {path} on port {port}: {error}")),
        Err(_) => Some(format!("no answer to GET {path} on port {port} within {:?}", health.timeout)),
    };
    Look { open: true, failure }
}

async fn connect(port: u16) -> Option<TcpStream> {
    for address in [SocketAddr::from((Ipv4Addr::LOCALHOST, port)), (Ipv6Addr::LOCALHOST, port).into()] {
        if let Ok(stream) = TcpStream::connect(address).await {
            return Some(stream);
        }
    }
    None
}

/// Any answer is a good one.
async fn get(stream: TcpStream, port: u16, path: &str) -> anyhow::Result<()> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get(path)
        .header(header::HOST, format!("localhost:{port}"))
        .header(header::USER_AGENT, "berth-agent")
        .header(header::CONNECTION, "close")
        .body(Body::empty())?;
    let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
    sender.send_request(request).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    #[rstest]
    #[case::ipv4("127.0.0.1:0", None, "", true)]
    #[case::ipv6("[::1]:0", None, "", true)]
    #[case::not_found(
        "127.0.0.1:0",
        Some("/health"),
        "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
        true
    )]
    #[case::nonsense("127.0.0.1:0", Some("/"), "hello\r\n\r\n", false)]
    #[case::silence("127.0.0.1:0", Some("/"), "", false)]
    #[tokio::test]
    async fn any_answer_is_a_good_one(
        #[case] address: &str,
        #[case] path: Option<&str>,
        #[case] answer: &'static str,
        #[case] well: bool,
    ) {
        let listener = TcpListener::bind(address).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            drop(stream.read(&mut [0; 1024]).await);
            drop(stream.write_all(answer.as_bytes()).await);
        });
        let health = Health {
            path: path.map(str::to_owned),
            interval: Duration::ZERO,
            timeout: Duration::from_secs(5),
            startup_grace: Duration::ZERO,
            failure_threshold: 1,
        };
        let look = look(port, &health).await;
        assert!(look.open);
        assert_eq!(look.failure.is_none(), well, "{look:?}");
        drop(server.await);
    }

    #[tokio::test]
    async fn a_closed_port_is_not_open() {
        let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
        assert!(!is_open(port).await);
    }
}
