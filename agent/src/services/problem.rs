//! Problems as answers of HTTP.

use std::{io, path::Path};

use axum::{
    Json,
    extract::rejection::{JsonRejection, QueryRejection},
    response::{IntoResponse, Response},
};
use berth_link::wire::AgentProblem;
use http::StatusCode;

/// A problem, and the status that it is answered with.
#[derive(Debug)]
pub struct Refused {
    /// The status.
    pub status: StatusCode,
    /// The problem.
    pub problem: AgentProblem,
}

impl Refused {
    /// A problem with this code.
    pub fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        Self { status, problem: AgentProblem::new(code, message) }
    }

    /// What was asked for makes no sense.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "Invalid", message)
    }

    /// It failed, and nobody could have known.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "Failed", message)
    }

    /// The path that it is about.
    pub fn at(mut self, path: &Path) -> Self {
        self.problem.details.insert("path".to_owned(), path.display().to_string());
        self
    }
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        let (status, code) = match error.kind() {
            io::ErrorKind::NotFound => (StatusCode::NOT_FOUND, "NotFound"),
            // The system's own refusals have a number; those of the confinement have none.
            io::ErrorKind::PermissionDenied if error.raw_os_error().is_none() => {
                (StatusCode::FORBIDDEN, "PathNotAllowed")
            }
            io::ErrorKind::PermissionDenied => (StatusCode::FORBIDDEN, "PermissionDenied"),
            io::ErrorKind::AlreadyExists => (StatusCode::CONFLICT, "AlreadyExists"),
            io::ErrorKind::DirectoryNotEmpty => (StatusCode::CONFLICT, "NotEmpty"),
            io::ErrorKind::NotADirectory => (StatusCode::CONFLICT, "NotAFolder"),
            io::ErrorKind::IsADirectory => (StatusCode::CONFLICT, "NotAFile"),
            io::ErrorKind::InvalidInput | io::ErrorKind::InvalidFilename => {
                (StatusCode::BAD_REQUEST, "Invalid")
            }
            io::ErrorKind::FileTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "TooLarge"),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                (StatusCode::INSUFFICIENT_STORAGE, "NoSpace")
            }
            io::ErrorKind::InvalidData => (StatusCode::UNPROCESSABLE_ENTITY, "InvalidData"),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "Failed"),
        };
        Self::new(status, code, error.to_string())
    }
}

impl From<QueryRejection> for Refused {
    fn from(rejection: QueryRejection) -> Self {
        Self::invalid(rejection.body_text())
    }
}

impl From<JsonRejection> for Refused {
    fn from(rejection: JsonRejection) -> Self {
        if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            return Self::new(StatusCode::PAYLOAD_TOO_LARGE, "TooLarge", rejection.body_text());
        }
        Self::invalid(rejection.body_text())
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.status, Json(self.problem)).into_response()
    }
}
