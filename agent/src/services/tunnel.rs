//! Connections to ports of the workspace: `CONNECT 127.0.0.1:{port}`.

use std::{io, net::Ipv6Addr, sync::Arc, time::Duration};

use axum::{
    Json,
    body::Body,
    response::{IntoResponse, Response},
};
use berth_link::wire::AgentProblem;
use http::{Request, StatusCode, uri::Authority};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_util::io::{InspectReader, InspectWriter};

use crate::activity::{ActivityLog, Work};

/// Time for a process to take a connection.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes on their way in each direction.
const BUFFER: usize = 64 << 10;

/// Answers a request for a connection, which then lives in a task of its own.
pub async fn open(request: Request<Body>, activity: Arc<ActivityLog>) -> Response {
    let Some(port) = request.uri().authority().and_then(loopback_port) else {
        let words = "only ports of 127.0.0.1 can be connected to";
        return refusal(StatusCode::FORBIDDEN, AgentProblem::new("AddressNotAllowed", words));
    };
    let stream = match connect(port).await {
        Ok(stream) => stream,
        Err(error) => {
            let words = format!("nothing takes connections on port {port}: {error}");
            return refusal(StatusCode::BAD_GATEWAY, AgentProblem::new("PortClosed", words));
        }
    };
    let _ = stream.set_nodelay(true);
    tokio::spawn(async move {
        if let Ok(upgraded) = hyper::upgrade::on(request).await {
            let mut gateway = TokioIo::new(upgraded);
            let mut stream = noticed(stream, &activity);
            let copied =
                tokio::io::copy_bidirectional_with_sizes(&mut gateway, &mut stream, BUFFER, BUFFER).await;
            if let Err(error) = copied {
                tracing::debug!(port, %error, "a connection broke");
            }
        }
    });
    Response::new(Body::empty())
}

/// Bytes in either direction are work.
fn noticed<S>(stream: S, activity: &Arc<ActivityLog>) -> impl AsyncRead + AsyncWrite + Unpin + use<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let touch = |activity: Arc<ActivityLog>| {
        move |bytes: &[u8]| {
            if !bytes.is_empty() {
                activity.touch(Work::Traffic);
            }
        }
    };
    let written = InspectWriter::new(stream, touch(Arc::clone(activity)));
    InspectReader::new(written, touch(Arc::clone(activity)))
}

fn refusal(status: StatusCode, problem: AgentProblem) -> Response {
    (status, Json(problem)).into_response()
}

/// Many dev servers listen on only one of the two loopback addresses.
async fn connect(port: u16) -> io::Result<TcpStream> {
    let connecting = async {
        match TcpStream::connect(("127.0.0.1", port)).await {
            Ok(stream) => Ok(stream),
            Err(error) => TcpStream::connect((Ipv6Addr::LOCALHOST, port)).await.map_err(|_| error),
        }
    };
    tokio::time::timeout(PATIENCE, connecting).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

fn loopback_port(authority: &Authority) -> Option<u16> {
    let loopback = matches!(authority.host(), "127.0.0.1" | "localhost" | "[::1]");
    authority.port_u16().filter(|port| loopback && *port > 0)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[rstest]
    #[case::to_the_process(true)]
    #[case::from_it(false)]
    #[tokio::test]
    async fn bytes_are_work(#[case] to_the_process: bool) {
        let activity = Arc::new(ActivityLog::default());
        let (near, mut far) = tokio::io::duplex(64);
        let mut near = noticed(near, &activity);
        assert_eq!(activity.shown().traffic_at, None);
        if to_the_process {
            near.write_all(b"x").await.unwrap();
        } else {
            far.write_all(b"x").await.unwrap();
            near.read_u8().await.unwrap();
        }
        assert!(activity.shown().traffic_at.is_some());
    }

    #[rstest]
    #[case("127.0.0.1:3000", Some(3000))]
    #[case("localhost:1", Some(1))]
    #[case("[::1]:80", Some(80))]
    #[case("127.0.0.1", None)]
    #[case("127.0.0.1:0", None)]
    #[case("10.0.0.1:80", None)]
    #[case("169.254.169.254:80", None)]
    #[case("127.0.0.1.example.com:80", None)]
    #[case("user@10.0.0.1:80", None)]
    fn only_the_workspace_itself_can_be_reached(#[case] text: &str, #[case] port: Option<u16>) {
        let authority: Authority = text.parse().unwrap();
        assert_eq!(loopback_port(&authority), port);
    }
}
