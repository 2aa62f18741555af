//! Commands to workspaces: only the leader can write them down.

use std::time::Duration;

use axum::{
    Json,
    body::Body,
    response::{IntoResponse, Response},
};
use http::{Request, StatusCode};
use kube::ResourceExt;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::{leader::Leadership, root::collect};
use crate::controller::{
    commands::{Command, Recorded},
    context::Context,
    trigger::WorkspaceKey,
    workspace::power::Refusal,
};

/// The path of commands.
pub const PATH: &str = "/leader/commands";
/// Most bytes of an answer.
pub(super) const ANSWER_BYTES: usize = 64 << 10;
const REQUEST_BYTES: usize = 64 << 10;
/// Time for a pass to write a command down. kube-apiserver cuts requests after 60 s.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// A command to a workspace. Its answer is a [`Recorded`].
#[derive(Deserialize, Serialize)]
pub(super) struct Order {
    /// The workspace's namespace.
    pub(super) namespace: String,
    /// Its name.
    pub(super) name: String,
    /// Its uid: another one of this name gets no command.
    pub(super) uid: String,
    /// The command.
    pub(super) command: Command,
    /// Who gives it.
    pub(super) by: String,
}

/// Takes a command that a gateway passes on, which has seen to it that this is allowed.
pub async fn take(leadership: &Leadership, request: Request<Body>) -> Response {
    let Some(context) = leadership.borrow().clone() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "this replica is not the leader").into_response();
    };
    let order = match collect(request.into_body(), REQUEST_BYTES).await {
        Ok(body) => serde_json::from_slice::<Order>(&body).map_err(anyhow::Error::from),
        Err(error) => Err(error),
    };
    match order {
        Ok(order) => {
            let mut leadership = leadership.clone();
            let recorded = tokio::select! {
                recorded = record(&context, &order) => recorded,
                _ = leadership.wait_for(Option::is_none) => Err(Refusal::NotRecorded),
            };
            Json(recorded).into_response()
        }
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error:#}")).into_response(),
    }
}

/// Gives the command to the workspace's next pass, and waits until that has written it down.
async fn record(context: &Context, order: &Order) -> Recorded {
    let key = WorkspaceKey::new(&order.name).within(&order.namespace);
    let known = context.objects.workspace(&key).filter(|found| found.uid().as_ref() == Some(&order.uid));
    if known.ok_or(Refusal::Unknown)?.metadata.deletion_timestamp.is_some() {
        return Err(Refusal::Deleted);
    }
    tracing::info!(target: "audit", workspace = %key, by = order.by, command = order.command.word(), "a command");
    let answer = context.commands.give(&order.uid, order.command, &order.by);
    context.triggers.workspace(key);
    match timeout(PATIENCE, answer).await {
        Ok(Ok(recorded)) => recorded,
        Ok(Err(_)) | Err(_) => Err(Refusal::NotRecorded),
    }
}
