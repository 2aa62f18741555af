//! Commands for root: only the leader can run them, which has the backends.

use std::time::Duration;

use axum::{
    Json,
    body::Body,
    response::{IntoResponse, Response},
};
use berth_link::wire::exec::{ExecRequest, ExecResult};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use serde::{Deserialize, Serialize};

use super::leader::Leadership;
use crate::{
    backend::{self, BodyId},
    controller::context::Context,
};

/// The path of such commands.
pub const PATH: &str = "/leader/exec-root";
const REQUEST_BYTES: usize = 1 << 20;
/// Most bytes of an answer.
pub(super) const ANSWER_BYTES: usize = 4 << 20;
/// What a command gets that names none.
const TIMEOUT: Duration = Duration::from_secs(30);
const OUTPUT: usize = 64 << 10;
/// The longest time, and the most output, that a command may ask for.
const LONGEST: Duration = Duration::from_secs(600);
const LARGEST: usize = 1 << 20;

/// A command for root.
#[derive(Deserialize, Serialize)]
pub(super) struct Order {
    /// The workspace.
    pub(super) id: BodyId,
    /// Who asks for it.
    pub(super) by: String,
    /// The command.
    pub(super) request: ExecRequest,
}

/// The whole of a body of at most so many bytes.
pub(super) async fn collect(body: Body, limit: usize) -> anyhow::Result<bytes::Bytes> {
    let collected = Limited::new(body, limit).collect().await;
    Ok(collected.map_err(|error| anyhow::anyhow!("{error}"))?.to_bytes())
}

/// Runs a command that a gateway asks for. The gateway has seen to it that this is allowed.
pub async fn take(leadership: &Leadership, request: Request<Body>) -> Response {
    let Some(context) = leadership.borrow().clone() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "this replica is not the leader").into_response();
    };
    let order = match collect(request.into_body(), REQUEST_BYTES).await {
        Ok(body) => serde_json::from_slice::<Order>(&body).map_err(anyhow::Error::from),
        Err(error) => Err(error),
    };
    match order {
        Ok(order) => match run(&context, order).await {
            Ok(result) => Json(result).into_response(),
            Err(error) => (StatusCode::BAD_GATEWAY, format!("{error:#}")).into_response(),
        },
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error:#}")).into_response(),
    }
}

async fn run(context: &Context, order: Order) -> anyhow::Result<ExecResult> {
    let Order { id, by, request } = order;
    let (backend, container) = context
        .container_of(id)
        .ok_or_else(|| anyhow::anyhow!("the workspace is not known to the controller"))?;
    tracing::info!(target: "audit", %id, by, "a command is run as root");
    let guest = backend.guest(&container).await?;
    let limit = usize::try_from(request.max_bytes.unwrap_or(OUTPUT as u64)).unwrap_or(LARGEST).min(LARGEST);
    let argv = match request.command.shell {
        Some(line) => vec!["/bin/sh".to_owned(), "-lc".to_owned(), line],
        None => request.command.argv,
    };
    let started = std::time::Instant::now();
    let output = guest
        .run(backend::ExecRequest {
            argv,
            user: "root".to_owned(),
            cwd: request.command.cwd.filter(|cwd| !cwd.trim().is_empty()),
            env: request.command.env,
            stdin: request.stdin.map(Into::into),
            timeout: request.timeout_ms.map_or(TIMEOUT, Duration::from_millis).min(LONGEST),
            output_limit: limit,
        })
        .await?;
    let timed_out = output.exit_code == 124;
    Ok(ExecResult {
        exit_code: i32::try_from(output.exit_code).ok(),
        signal: None,
        truncated: output.stdout.len() >= limit || output.stderr.len() >= limit,
        stdout: output.stdout,
        stderr: output.stderr,
        timed_out,
        duration_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
    })
}
