//! Passing requests on to the supervisor.

use std::path::PathBuf;

use axum::{
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use berth_link::{transport, wire::AgentProblem};
use http::{Request, StatusCode, Uri};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::TokioIo;
use tokio::{net::UnixStream, sync::Mutex};

/// The way to the supervisor: one connection, opened anew when the supervisor was.
#[derive(Debug)]
pub struct Supervisor {
    socket: PathBuf,
    connection: Mutex<Option<SendRequest<Body>>>,
}

impl Supervisor {
    /// Of the supervisor on this socket.
    pub fn new(socket: PathBuf) -> Self {
        Self { socket, connection: Mutex::new(None) }
    }

    async fn connection(&self) -> anyhow::Result<SendRequest<Body>> {
        let mut connection = self.connection.lock().await;
        if let Some(open) = connection.as_ref().filter(|open| !open.is_closed()) {
            return Ok(open.clone());
        }
        let stream = UnixStream::connect(&self.socket).await?;
        let (sender, driver) = transport::client().handshake(TokioIo::new(stream)).await?;
        tokio::spawn(driver);
        *connection = Some(sender.clone());
        Ok(sender)
    }

    /// Sends a request there, and gives its answer back as it comes.
    pub async fn send(&self, request: Request<Body>) -> anyhow::Result<Response> {
        let mut connection = self.connection().await?;
        connection.ready().await?;
        Ok(connection.send_request(to_supervisor(request)?).await?.map(Body::new))
    }
}

/// The same request, to a server without a name.
fn to_supervisor(request: Request<Body>) -> anyhow::Result<Request<Body>> {
    let (mut parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    parts.uri = Uri::builder().scheme("http").authority("supervisor").path_and_query(path).build()?;
    parts.headers.remove(http::header::HOST);
    Ok(Request::from_parts(parts, body))
}

/// Answers a request with what the supervisor says.
pub async fn pass(State(supervisor): State<std::sync::Arc<Supervisor>>, request: Request<Body>) -> Response {
    supervisor.send(request).await.unwrap_or_else(|error| {
        let problem =
            AgentProblem::new("SupervisorUnavailable", format!("the supervisor does not answer: {error}"));
        (StatusCode::SERVICE_UNAVAILABLE, axum::Json(problem)).into_response()
    })
}
