//! Problems with files, as answers.

use std::{io, path::Path};

use axum::{
    Json,
    extract::rejection::{JsonRejection, QueryRejection},
    response::{IntoResponse, Response},
};
use berth_link::wire::AgentProblem;
use http::StatusCode;
use nix::errno::Errno;

/// A problem as an answer.
#[derive(Debug)]
pub struct Refused(pub AgentProblem);

impl From<AgentProblem> for Refused {
    fn from(problem: AgentProblem) -> Self {
        Self(problem)
    }
}

impl From<QueryRejection> for Refused {
    fn from(rejection: QueryRejection) -> Self {
        Self(AgentProblem::new("Invalid", rejection.body_text()))
    }
}

impl From<JsonRejection> for Refused {
    fn from(rejection: JsonRejection) -> Self {
        Self(AgentProblem::new("Invalid", rejection.body_text()))
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = match self.0.code.as_str() {
            "Invalid" => StatusCode::BAD_REQUEST,
            "PathNotAllowed" | "PermissionDenied" => StatusCode::FORBIDDEN,
            "NotFound" => StatusCode::NOT_FOUND,
            "NotEmpty" | "NotAFile" | "NotAFolder" => StatusCode::CONFLICT,
            "NoRepository" | "NothingToCommit" | "CommitFailed" | "GitFailed" => StatusCode::CONFLICT,
            "TimedOut" => StatusCode::GATEWAY_TIMEOUT,
            "PreconditionFailed" => StatusCode::PRECONDITION_FAILED,
            "NoSpace" => StatusCode::INSUFFICIENT_STORAGE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (status, Json(self.0)).into_response()
    }
}

/// What went wrong with the file at this path.
pub fn of_io(error: &io::Error, path: &Path) -> AgentProblem {
    let (code, words) = match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EXDEV) => ("PathNotAllowed", "a symbolic link leads out of its folder".to_owned()),
        Some(Errno::ENOENT) => ("NotFound", "there is no such file or folder".to_owned()),
        Some(Errno::EACCES | Errno::EPERM | Errno::EROFS) => ("PermissionDenied", error.to_string()),
        Some(Errno::ENOTEMPTY) => ("NotEmpty", "the folder is not empty".to_owned()),
        Some(Errno::EISDIR) => ("NotAFile", "that is a folder".to_owned()),
        Some(Errno::ENOTDIR) => ("NotAFolder", "a part of the path is no folder".to_owned()),
        Some(Errno::ENAMETOOLONG | Errno::ELOOP | Errno::EINVAL) => ("Invalid", error.to_string()),
        Some(Errno::ENOSPC | Errno::EDQUOT) => ("NoSpace", error.to_string()),
        Some(_) => ("Internal", error.to_string()),
        // What `cap-std` finds out itself has no number.
        None if error.kind() == io::ErrorKind::PermissionDenied => {
            ("PathNotAllowed", "a symbolic link leads out of its folder".to_owned())
        }
        None => ("Internal", error.to_string()),
    };
    with_path(code, words, path)
}

/// A problem with the file at this path.
pub fn with_path(code: &str, words: impl Into<String>, path: &Path) -> AgentProblem {
    let shown = path.to_string_lossy().into_owned();
    let mut problem = AgentProblem::new(code, format!("{shown}: {}", words.into()));
    problem.details.insert("path".to_owned(), shown);
    problem
}
