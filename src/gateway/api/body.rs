//! Reading what a client sends.

use std::time::Duration;

use axum::body::Body;
use http::Request;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::problem::{Problem, Reason};

/// Time for a client to send a document.
const PATIENCE: Duration = Duration::from_secs(30);

/// The document that a request carries, of at most so many bytes.
pub async fn json<T: DeserializeOwned>(request: Request<Body>, limit: usize) -> Result<T, Problem> {
    let collected = timeout(PATIENCE, Limited::new(request.into_body(), limit).collect())
        .await
        .map_err(|_| Problem::bad_request("the request's body did not come in time"))?;
    let bytes = collected.map_err(|error| unread(error.as_ref(), limit))?.to_bytes();
    serde_json::from_slice(&bytes)
        .map_err(|error| Problem::bad_request(format!("the request's body: {error}")))
}

fn unread(error: &(dyn std::error::Error + Send + Sync + 'static), limit: usize) -> Problem {
    if error.is::<LengthLimitError>() {
        return Problem::new(
            Reason::RequestEntityTooLarge,
            format!("a body of at most {limit} bytes is taken"),
        );
    }
    Problem::bad_request(format!("the request's body broke off: {error}"))
}
