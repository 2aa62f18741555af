//! What can be wrong with a request: one vocabulary for both faces.
//!
//! A handler ends with a [`Problem`]. How it looks on the wire depends on who asks, so a response
//! made of one carries it along, and [`Rendering`] writes the body on the way out.

use std::{collections::BTreeMap, time::Duration};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use super::GROUP;

/// A stable word for what is wrong.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Reason {
    /// The request can not be read.
    BadRequest,
    /// Nobody knows who asks.
    Unauthorized,
    /// Whoever asks may not do this.
    Forbidden,
    /// There is no such thing.
    NotFound,
    /// The thing is there, and can not be asked in this way.
    MethodNotAllowed,
    /// No form of the answer is one that the client takes.
    NotAcceptable,
    /// The workspace does not run.
    NotRunning,
    /// The workspace is suspended.
    Suspended,
    /// The workspace has no repository.
    NoRepository,
    /// It is in a state in which this can not be done.
    Conflict,
    /// It is being deleted, or was.
    Gone,
    /// A condition that the request set does not hold.
    PreconditionFailed,
    /// The request is larger than what is taken.
    RequestEntityTooLarge,
    /// The request can be read, and asks for something that can not be.
    Invalid,
    /// Too many requests in too short a time.
    TooManyRequests,
    /// Our own fault.
    InternalError,
    /// The agent of the workspace can not be asked, or answers nonsense.
    AgentUnavailable,
    /// It is on its way.
    NotReady,
    /// It took too long.
    Timeout,
    /// The workspace's disk is full.
    InsufficientStorage,
}

impl Reason {
    /// The status code that goes with it.
    pub fn status(self) -> StatusCode {
        match self {
            Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::NotAcceptable => StatusCode::NOT_ACCEPTABLE,
            Self::NotRunning | Self::Suspended | Self::NoRepository | Self::Conflict => StatusCode::CONFLICT,
            Self::Gone => StatusCode::GONE,
            Self::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
            Self::RequestEntityTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
            Self::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
            Self::InternalError => StatusCode::INTERNAL_SERVER_ERROR,
            Self::AgentUnavailable => StatusCode::BAD_GATEWAY,
            Self::NotReady => StatusCode::SERVICE_UNAVAILABLE,
            Self::Timeout => StatusCode::GATEWAY_TIMEOUT,
            Self::InsufficientStorage => StatusCode::INSUFFICIENT_STORAGE,
        }
    }

    /// The word itself.
    pub fn word(self) -> &'static str {
        match self {
            Self::BadRequest => "BadRequest",
            Self::Unauthorized => "Unauthorized",
            Self::Forbidden => "Forbidden",
            Self::NotFound => "NotFound",
            Self::MethodNotAllowed => "MethodNotAllowed",
            Self::NotAcceptable => "NotAcceptable",
            Self::NotRunning => "NotRunning",
            Self::Suspended => "Suspended",
            Self::NoRepository => "NoRepository",
            Self::Conflict => "Conflict",
            Self::Gone => "Gone",
            Self::PreconditionFailed => "PreconditionFailed",
            Self::RequestEntityTooLarge => "RequestEntityTooLarge",
            Self::Invalid => "Invalid",
            Self::TooManyRequests => "TooManyRequests",
            Self::InternalError => "InternalError",
            Self::AgentUnavailable => "AgentUnavailable",
            Self::NotReady => "NotReady",
            Self::Timeout => "Timeout",
            Self::InsufficientStorage => "InsufficientStorage",
        }
    }
}

/// Why a request was refused or failed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct Problem {
    /// What kind of problem it is.
    pub reason: Reason,
    /// A more precise word than the reason's, where the agent has one.
    pub code: Option<String>,
    /// What happened, for people.
    pub message: String,
    /// More for programs.
    pub details: BTreeMap<String, String>,
    /// After so long it may go better.
    pub retry_after: Option<Duration>,
}

impl Problem {
    /// A problem without details.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, code: None, message: message.into(), details: BTreeMap::new(), retry_after: None }
    }

    /// The request can not be read.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(Reason::BadRequest, message)
    }

    /// The request asks for something that can not be.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Reason::Invalid, message)
    }

    /// There is no such thing.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(Reason::NotFound, message)
    }

    /// The same, with a time after which it may go better.
    pub fn retry_after(self, wait: Duration) -> Self {
        Self { retry_after: Some(wait), ..self }
    }

    /// The same, with a more precise word.
    pub fn code(self, code: impl Into<String>) -> Self {
        Self { code: Some(code.into()), ..self }
    }

    /// The word that programs go by.
    pub fn word(&self) -> &str {
        self.code.as_deref().unwrap_or_else(|| self.reason.word())
    }

    /// Whole seconds to wait, at least one.
    fn retry_seconds(&self) -> Option<u64> {
        self.retry_after.map(|wait| wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).map(|s| s.max(1))
    }

    /// As Kubernetes says it: a `metav1.Status`.
    pub fn kubernetes_status(&self) -> Value {
        let causes: Vec<_> =
            self.details.iter().map(|(name, value)| json!({"reason": name, "message": value})).collect();
        let mut details = json!({"group": GROUP});
        if !causes.is_empty() {
            details["causes"] = causes.into();
        }
        if let Some(seconds) = self.retry_seconds() {
            details["retryAfterSeconds"] = seconds.into();
        }
        json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.word(),
            "details": details,
            "code": self.reason.status().as_u16(),
        })
    }

    /// As RFC 9457 says it: a problem document.
    pub fn problem_document(&self) -> Value {
        let status = self.reason.status();
        let mut document = json!({
            "type": "about:blank",
            "title": status.canonical_reason().unwrap_or_default(),
            "status": status.as_u16(),
            "detail": self.message,
            "code": self.word(),
        });
        if !self.details.is_empty() {
            document["details"] = json!(self.details);
        }
        if let Some(seconds) = self.retry_seconds() {
            document["retryAfterSeconds"] = seconds.into();
        }
        document
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.reason.status();
        response.extensions_mut().insert(self);
        response
    }
}

/// How problems are written for a client.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Rendering {
    /// `metav1.Status`.
    Kubernetes,
    /// RFC 9457.
    ProblemDocument,
}

impl Rendering {
    /// Writes the body of a response that stands for a problem; leaves any other as it is.
    pub fn render(self, response: Response) -> Response {
        let Some(problem) = response.extensions().get::<Problem>() else { return response };
        let (kind, body) = match self {
            Self::Kubernetes => ("application/json", problem.kubernetes_status()),
            Self::ProblemDocument => ("application/problem+json", problem.problem_document()),
        };
        let mut rendered = Response::new(Body::from(body.to_string()));
        *rendered.status_mut() = problem.reason.status();
        let headers = rendered.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if let Some(seconds) = problem.retry_seconds() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if problem.reason == Reason::Unauthorized && self == Self::ProblemDocument {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        rendered
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use rstest::rstest;

    use super::*;

    async fn rendered(rendering: Rendering, problem: Problem) -> (http::response::Parts, Value) {
        let (parts, body) = rendering.render(problem.into_response()).into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        (parts, serde_json::from_slice(&bytes).unwrap())
    }

    #[tokio::test]
    async fn kubernetes_gets_a_status() {
        let problem =
            Problem::new(Reason::Suspended, "it is suspended").retry_after(Duration::from_millis(1500));
        let (parts, body) = rendered(Rendering::Kubernetes, problem).await;
        assert_eq!(parts.status, StatusCode::CONFLICT);
        assert_eq!(parts.headers[header::CONTENT_TYPE], "application/json");
        assert_eq!(parts.headers[header::RETRY_AFTER], "2");
        assert_eq!(body["kind"], "Status");
        assert_eq!(body["reason"], "Suspended");
        assert_eq!(body["code"], 409);
        assert_eq!(body["details"]["retryAfterSeconds"], 2);
    }

    #[tokio::test]
    async fn others_get_a_problem_document() {
        let mut problem = Problem::invalid("no such path").code("PathNotAllowed");
        problem.details.insert("path".to_owned(), "/etc".to_owned());
        let (parts, body) = rendered(Rendering::ProblemDocument, problem).await;
        assert_eq!(parts.headers[header::CONTENT_TYPE], "application/problem+json");
        assert_eq!(body["status"], 422);
        assert_eq!(body["code"], "PathNotAllowed");
        assert_eq!(body["details"]["path"], "/etc");
    }

    #[rstest]
    #[case(Rendering::Kubernetes, None)]
    #[case(Rendering::ProblemDocument, Some("Bearer"))]
    #[tokio::test]
    async fn only_programs_are_told_to_bring_a_token(
        #[case] rendering: Rendering,
        #[case] expected: Option<&str>,
    ) {
        let (parts, _) = rendered(rendering, Problem::new(Reason::Unauthorized, "who is it?")).await;
        let challenge = parts.headers.get(header::WWW_AUTHENTICATE).map(|value| value.to_str().unwrap());
        assert_eq!(challenge, expected);
    }

    #[test]
    fn what_is_no_problem_stays_as_it_is() {
        let response =
            Rendering::Kubernetes.render((StatusCode::NOT_FOUND, "from elsewhere").into_response());
        assert_eq!(response.headers()[header::CONTENT_TYPE], "text/plain; charset=utf-8");
    }
}
