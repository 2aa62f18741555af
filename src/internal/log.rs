//! Logs of containers: only the leader can read them, which has the backends.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use futures::StreamExt;
use http::{Request, StatusCode};
use serde::{Deserialize, Serialize};

use super::{leader::Leadership, root::collect};
use crate::{
    backend::{BackendError, BodyId, LogRequest, LogStream, Reason},
    controller::context::Context,
};

/// The path of logs.
pub const PATH: &str = "/leader/log";
const REQUEST_BYTES: usize = 64 << 10;

/// A log that is wanted. Its answer is text: the log with 200, else what is wrong.
#[derive(Deserialize, Serialize)]
pub(super) struct Order {
    /// The workspace.
    pub(super) id: BodyId,
    /// The part of its log.
    pub(super) request: LogRequest,
}

/// Answers a gateway, which has seen to it that this is allowed, for as long as this replica leads.
pub async fn take(leadership: &Leadership, request: Request<Body>) -> Response {
    let Some(context) = leadership.borrow().clone() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "this replica is not the leader").into_response();
    };
    let order = match collect(request.into_body(), REQUEST_BYTES).await {
        Ok(body) => serde_json::from_slice::<Order>(&body).map_err(anyhow::Error::from),
        Err(error) => Err(error),
    };
    match order {
        Ok(order) => match open(&context, &order).await {
            Ok(log) => {
                let mut leadership = leadership.clone();
                let over = Box::pin(async move {
                    let _ = leadership.wait_for(Option::is_none).await;
                });
                Response::new(Body::from_stream(log.take_until(over)))
            }
            Err(error) => (status(error.reason), error.message).into_response(),
        },
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error:#}")).into_response(),
    }
}

async fn open(context: &Context, order: &Order) -> Result<LogStream, BackendError> {
    let (backend, container) = context
        .container_of(order.id)
        .ok_or_else(|| BackendError::new(Reason::NotFound, "the workspace is not known to the controller"))?;
    backend.logs(&container, &order.request).await
}

fn status(reason: Reason) -> StatusCode {
    match reason {
        Reason::NotFound => StatusCode::NOT_FOUND,
        Reason::Unsupported => StatusCode::NOT_IMPLEMENTED,
        _ => StatusCode::BAD_GATEWAY,
    }
}
