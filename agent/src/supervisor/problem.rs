//! Problems as answers of HTTP.

use axum::{
    Json,
    extract::rejection::{JsonRejection, QueryRejection},
    response::{IntoResponse, Response},
};
use berth_link::wire::AgentProblem;
use http::StatusCode;

/// A problem as an answer.
#[derive(Debug)]
pub struct Refused(pub AgentProblem);

impl From<AgentProblem> for Refused {
    fn from(problem: AgentProblem) -> Self {
        Self(problem)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = match self.0.code.as_str() {
            "Invalid" => StatusCode::BAD_REQUEST,
            "ProcessNotFound" | "TerminalNotFound" | "NotFound" => StatusCode::NOT_FOUND,
            "ProcessStopped" => StatusCode::CONFLICT,
            "TooManyTerminals" => StatusCode::TOO_MANY_REQUESTS,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (status, Json(self.0)).into_response()
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
