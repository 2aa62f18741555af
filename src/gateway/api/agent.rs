//! Asking the agent of one workspace. Its end of the link is the tenant's: how long it may take
//! and how much it may say is bounded here, and what it says of problems is trimmed.

use std::{sync::Arc, time::Duration};

use axum::{body::Body, response::Response};
use berth_link::wire::AgentProblem;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::{Instant, timeout, timeout_at};

use super::{
    objects::Reachable,
    problem::{Problem, Reason},
};
use crate::gateway::access::{AgentError, Agents, Tunnel};

/// Time that an agent has for what it can answer at once.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// Most bytes of an answer that is read as a whole.
pub const DOCUMENT: usize = 4 << 20;
/// Time for the body of an answer that is read as a whole, once it has begun.
const BODY_PATIENCE: Duration = Duration::from_secs(20);
/// Most bytes of what an agent says of a problem.
const PROBLEM: usize = 64 << 10;
/// Most characters of a problem's message or of one of its details.
const MESSAGE: usize = 4 << 10;
/// Most details of a problem.
const DETAILS: usize = 16;
/// Longest word for a problem.
const WORD: usize = 64;
/// After so long a workspace that is too busy can be asked again.
const BUSY: Duration = Duration::from_secs(1);

/// The agent of one workspace.
#[derive(Clone)]
pub struct Agent {
    agents: Arc<dyn Agents>,
    workspace: Reachable,
}

impl Agent {
    /// The agent of a workspace.
    pub fn new(agents: Arc<dyn Agents>, workspace: Reachable) -> Self {
        Self { agents, workspace }
    }

    /// Sends a request and waits so long for the answer to begin. An answer that is no success is
    /// a problem.
    pub async fn send(&self, request: Request<Body>, patience: Duration) -> Result<Response, Problem> {
        let answer = timeout(patience, self.agents.request(self.workspace.id, request))
            .await
            .unwrap_or(Err(AgentError::TimedOut(patience)))
            .map_err(|error| self.unanswered(error))?;
        if answer.status().is_success() { Ok(answer) } else { Err(refused(answer).await) }
    }

    /// Reads a document.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Problem> {
        let answer = self.send(request(Method::GET, path, Body::empty())?, PATIENCE).await?;
        document(answer, DOCUMENT).await
    }

    /// Sends a document, and waits so long for the answer to begin. Its body is left to read.
    pub async fn send_document(
        &self,
        method: Method,
        path: &str,
        value: &impl Serialize,
        patience: Duration,
    ) -> Result<Response, Problem> {
        let body = serde_json::to_vec(value).map_err(|error| Problem::bad_request(error.to_string()))?;
        let mut request = request(method, path, Body::from(body))?;
        request
            .headers_mut()
            .insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
        self.send(request, patience).await
    }

    /// Opens a connection to a port.
    pub async fn connect(&self, port: u16) -> Result<Tunnel, Problem> {
        timeout(PATIENCE, self.agents.connect(self.workspace.id, port))
            .await
            .unwrap_or(Err(AgentError::TimedOut(PATIENCE)))
            .map_err(|error| self.unanswered(error))
    }

    fn unanswered(&self, error: AgentError) -> Problem {
        match error {
            AgentError::NotConnected => self.workspace.without_agent.clone(),
            error => unanswered(error),
        }
    }
}

/// A request for an agent. The path may have a query.
pub fn request(method: Method, path: &str, body: Body) -> Result<Request<Body>, Problem> {
    Request::builder()
        .method(method)
        .uri(path)
        .body(body)
        .map_err(|error| Problem::bad_request(format!("the agent can not be asked for this: {error}")))
}

/// A path with a query of what is there.
pub fn with_query<'a>(path: &str, pairs: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(pairs);
    let query = query.finish();
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

/// The value in an answer of at most so many bytes.
pub async fn document<T: DeserializeOwned>(answer: Response, limit: usize) -> Result<T, Problem> {
    let bytes = whole(answer.into_body(), limit, BODY_PATIENCE).await?;
    serde_json::from_slice(&bytes).map_err(|error| nonsense(format!("its answer can not be read: {error}")))
}

async fn whole(body: Body, limit: usize, patience: Duration) -> Result<Bytes, Problem> {
    let collected = timeout(patience, Limited::new(body, limit).collect()).await;
    match collected {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) => Err(nonsense(format!("its answer broke off: {error}"))),
        Err(_) => Err(unanswered(AgentError::TimedOut(patience))),
    }
}

/// What an agent sends, cut off after so many bytes or so long. The client sees that it was cut:
/// the answer does not end as it should.
pub fn bounded(body: Body, limit: u64, time: Option<Duration>) -> Body {
    let deadline = time.map(|time| Instant::now() + time);
    let parts =
        futures::stream::unfold((body.into_data_stream(), 0_u64), move |(mut parts, seen)| async move {
            let next = match deadline {
                Some(deadline) => match timeout_at(deadline, parts.next()).await {
                    Ok(next) => next?.map_err(std::io::Error::other),
                    Err(_) => Err(std::io::ErrorKind::TimedOut.into()),
                },
                None => parts.next().await?.map_err(std::io::Error::other),
            };
            let seen = seen + next.as_ref().map_or(0, |bytes| bytes.len() as u64);
            let next = if seen > limit { Err(std::io::ErrorKind::FileTooLarge.into()) } else { next };
            Some((next, (parts, seen)))
        });
    // After an error nothing more is asked for.
    let parts = parts.scan(false, |failed, part| {
        let over = std::mem::replace(failed, part.is_err());
        std::future::ready((!over).then_some(part))
    });
    Body::from_stream(parts.into_stream())
}

/// An agent that says nonsense.
pub fn nonsense(what: impl std::fmt::Display) -> Problem {
    Problem::new(Reason::AgentUnavailable, format!("the workspace's agent answers nonsense: {what}"))
}

/// Why there is no answer.
fn unanswered(error: AgentError) -> Problem {
    let message = error.to_string();
    match error {
        AgentError::NotConnected | AgentError::Broken(_) => Problem::new(Reason::AgentUnavailable, message),
        AgentError::TimedOut(_) => Problem::new(Reason::Timeout, message),
        AgentError::Busy => Problem::new(Reason::TooManyRequests, message).retry_after(BUSY),
        AgentError::PortClosed(_) => Problem::new(Reason::AgentUnavailable, message).code("PortClosed"),
    }
}

async fn refused(answer: Response) -> Problem {
    let status = answer.status();
    let said = whole(answer.into_body(), PROBLEM, BODY_PATIENCE).await.ok();
    match said.and_then(|bytes| serde_json::from_slice(&bytes).ok()) {
        Some(said) => told(status, said),
        None => nonsense(format!("status {status} and no word why")),
    }
}

/// A problem as an agent tells it, trimmed.
pub fn told(status: StatusCode, said: AgentProblem) -> Problem {
    let reason = match (status.as_u16(), said.code.as_str()) {
        (409, "NoRepository") => Reason::NoRepository,
        (400, "Invalid") => Reason::Invalid,
        (400, _) => Reason::BadRequest,
        (403, _) => Reason::Forbidden,
        (404, _) => Reason::NotFound,
        (405, _) => Reason::MethodNotAllowed,
        (409 | 410, _) => Reason::Conflict,
        (412, _) => Reason::PreconditionFailed,
        (413, _) => Reason::RequestEntityTooLarge,
        (415 | 422, _) => Reason::Invalid,
        (429, _) => Reason::TooManyRequests,
        (503, _) => Reason::NotReady,
        (504, _) => Reason::Timeout,
        (507, _) => Reason::InsufficientStorage,
        _ => Reason::AgentUnavailable,
    };
    let details = said.details.into_iter().take(DETAILS);
    let is_word = (1..=WORD).contains(&said.code.len())
        && said.code.bytes().all(|letter| letter.is_ascii_alphanumeric());
    Problem {
        reason,
        code: is_word.then_some(said.code),
        message: trimmed(&said.message),
        details: details.map(|(name, value)| (trimmed(&name), trimmed(&value))).collect(),
        retry_after: matches!(reason, Reason::NotReady | Reason::TooManyRequests).then_some(BUSY),
    }
}

/// At most so many characters, none of which moves a cursor.
fn trimmed(text: &str) -> String {
    text.chars().filter(|each| *each == '\n' || !each.is_control()).take(MESSAGE).collect()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(404, "PathNotFound", Reason::NotFound, "PathNotFound")]
    #[case(409, "NoRepository", Reason::NoRepository, "NoRepository")]
    #[case(410, "Whatever", Reason::Conflict, "Whatever")]
    #[case(500, "Panic", Reason::AgentUnavailable, "Panic")]
    #[case(401, "x", Reason::AgentUnavailable, "x")]
    #[case(400, "Invalid", Reason::Invalid, "Invalid")]
    #[case(507, "NoSpace", Reason::InsufficientStorage, "NoSpace")]
    #[case(422, "<script>", Reason::Invalid, "Invalid")]
    fn what_an_agent_says_is_mapped(
        #[case] status: u16,
        #[case] code: &str,
        #[case] reason: Reason,
        #[case] word: &str,
    ) {
        let problem = told(StatusCode::from_u16(status).unwrap(), AgentProblem::new(code, "so it is"));
        assert_eq!((problem.reason, problem.word()), (reason, word));
    }

    #[test]
    fn what_an_agent_says_is_trimmed() {
        let mut said = AgentProblem::new("Long", format!("\u{1b}[2J{}", "x".repeat(1 << 20)));
        said.details = (0..100).map(|number| (number.to_string(), String::new())).collect();
        let problem = told(StatusCode::CONFLICT, said);
        assert_eq!(problem.message.chars().count(), MESSAGE);
        assert!(problem.message.starts_with("[2Jx"), "{}", &problem.message[..10]);
        assert_eq!(problem.details.len(), DETAILS);
    }

    #[tokio::test]
    async fn an_answer_without_end_is_cut_off() {
        let endless =
            futures::stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from_static(&[0; 1024])));
        let body = bounded(Body::from_stream(endless), 10 << 10, None);
        let seen: Vec<_> = StreamExt::collect(body.into_data_stream()).await;
        assert_eq!(seen.len(), 11);
        assert!(seen[10].is_err());
    }

    #[tokio::test]
    async fn an_answer_that_stalls_is_cut_off() {
        let silent = futures::stream::pending::<Result<Bytes, std::io::Error>>();
        let body = bounded(Body::from_stream(silent), 10, Some(Duration::from_millis(20)));
        let mut parts = body.into_data_stream();
        assert!(parts.next().await.unwrap().is_err());
        assert!(parts.next().await.is_none());
    }

    #[tokio::test]
    async fn a_document_that_stalls_is_not_waited_for() {
        let silent = futures::stream::pending::<Result<Bytes, std::io::Error>>();
        let patience = Duration::from_millis(20);
        let problem = whole(Body::from_stream(silent), 10, patience).await.unwrap_err();
        assert_eq!(problem.reason, Reason::Timeout);
    }

    #[tokio::test]
    async fn too_large_a_document_is_not_taken() {
        let answer = Response::new(Body::from(" ".repeat(100)));
        let problem = document::<serde_json::Value>(answer, 10).await.unwrap_err();
        assert_eq!(problem.reason, Reason::AgentUnavailable);
    }

    #[test]
    fn queries_are_encoded() {
        let path = with_query("/v1/files", [("path", "a b&c".to_owned())]);
        assert_eq!(path, "/v1/files?path=a+b%26c");
        assert_eq!(with_query("/v1/files", []), "/v1/files");
    }
}
