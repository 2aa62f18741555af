//! The routes of the supervisor.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::Body,
    extract::{
        DefaultBodyLimit, Path, Query, State,
        rejection::{JsonRejection, QueryRejection},
    },
    response::{IntoResponse, Response},
    routing::{get, post, put},
};
use berth_link::wire::{
    AgentProblem, Event,
    process::{DesiredProcesses, DetectedErrors, LOG_OFFSET_HEADER, LogQuery, Processes},
    system::Activity,
};
use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use http::{StatusCode, header};
use serde::Serialize;
use tokio::time::{Instant, sleep_until};

use super::{Supervisor, board::Board, log_stream, problem::Refused, terminals};

/// Largest body of a request that is read as a whole.
const LARGEST_BODY: usize = 8 << 20;
/// Least time between two events.
const BETWEEN_EVENTS: Duration = Duration::from_millis(200);
/// Lines of a log.
const TAIL: std::ops::RangeInclusive<u64> = 1..=2000;
const USUAL_TAIL: u64 = 200;
const NO_LOG: &str = "(no log yet)\n";

/// Who the supervisor is.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Info {
    version: &'static str,
    protocol: u32,
}

/// All routes.
pub fn router(supervisor: Arc<Supervisor>) -> Router {
    Router::new()
        .route("/v1/info", get(info))
        .route("/v1/processes", put(want).get(processes))
        .route("/v1/processes/{id}/restart", post(restart))
        .route("/v1/processes/{id}/log", get(log))
        .route("/v1/processes/{id}/errors", get(errors))
        .route("/v1/events", get(events))
        .route("/v1/activity", get(activity))
        .merge(terminals::router())
        .fallback(|| async { Refused(AgentProblem::new("NotFound", "there is no such route")) })
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .with_state(supervisor)
}

async fn info() -> Json<Info> {
    Json(Info { version: env!("CARGO_PKG_VERSION"), protocol: berth_link::wire::PROTOCOL })
}

async fn want(
    State(supervisor): State<Arc<Supervisor>>,
    desired: Result<Json<DesiredProcesses>, JsonRejection>,
) -> Result<Json<Processes>, Refused> {
    let Json(desired) = desired?;
    Ok(Json(supervisor.processes.want(desired).await?))
}

async fn processes(State(supervisor): State<Arc<Supervisor>>) -> Json<Processes> {
    Json(supervisor.processes.board().now())
}

async fn restart(
    State(supervisor): State<Arc<Supervisor>>,
    Path(id): Path<String>,
) -> Result<StatusCode, Refused> {
    supervisor.processes.restart(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn log(
    State(supervisor): State<Arc<Supervisor>>,
    Path(id): Path<String>,
    query: Result<Query<LogQuery>, QueryRejection>,
) -> Result<Response, Refused> {
    let Query(query) = query?;
    let log = supervisor.processes.output(&id)?.log().clone();
    let tail = query.tail.unwrap_or(USUAL_TAIL);
    if !TAIL.contains(&tail) {
        let message = format!("tail is {tail}; {} to {} lines can be asked for", TAIL.start(), TAIL.end());
        return Err(AgentProblem::new("Invalid", message).into());
    }
    let part = log_stream::part(log.clone(), query.since, tail).await?;
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8".to_owned()),
        (header::HeaderName::from_static(LOG_OFFSET_HEADER), part.to.to_string()),
    ];
    let body = if query.follow {
        Body::from_stream(log_stream::follow(log, part, query.timestamps))
    } else if part.to == 0 {
        Body::from(NO_LOG)
    } else {
        Body::from_stream(log_stream::once(part, query.timestamps))
    };
    Ok((headers, body).into_response())
}

async fn errors(
    State(supervisor): State<Arc<Supervisor>>,
    Path(id): Path<String>,
) -> Result<Json<DetectedErrors>, Refused> {
    Ok(Json(supervisor.processes.output(&id)?.errors()))
}

async fn activity(State(supervisor): State<Arc<Supervisor>>) -> Json<Activity> {
    Json(supervisor.activity.shown())
}

async fn events(State(supervisor): State<Arc<Supervisor>>) -> Response {
    let changes = changes(supervisor.processes.board().clone());
    let work = supervisor.activity.told().map(Ok);
    let body = Body::from_stream(stream::select(changes, work));
    ([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response()
}

/// The states at once, and whenever one has changed; several changes may be told as one.
fn changes(board: Board) -> impl Stream<Item = Result<Bytes, Infallible>> {
    let mut changes = board.changes();
    changes.mark_changed();
    stream::unfold((board, changes, Instant::now()), |(board, mut changes, next)| async move {
        changes.changed().await.ok()?;
        sleep_until(next).await;
        changes.mark_unchanged();
        let mut line = serde_json::to_vec(&Event::Processes(board.now())).ok()?;
        line.push(b'\n');
        Some((Ok(line.into()), (board, changes, Instant::now() + BETWEEN_EVENTS)))
    })
}

#[cfg(test)]
mod tests {
    use berth_link::wire::process::{ProcessPhase, ProcessState};
    use futures::FutureExt;

    use super::*;

    fn state(restart_count: u32) -> ProcessState {
        serde_json::from_value(serde_json::json!({
            "id": "web", "phase": ProcessPhase::Running, "restartCount": restart_count, "portOpen": true,
            "healthy": true, "errorCount": 0, "restartNonce": "",
        }))
        .unwrap()
    }

    #[tokio::test]
    async fn changes_in_quick_succession_are_told_as_one() {
        let board = Board::default();
        let mut events = Box::pin(changes(board.clone()));
        let mut next = async || {
            let line = events.next().await.unwrap().unwrap();
            let Event::Processes(processes) = serde_json::from_slice(&line).unwrap() else { unreachable!() };
            processes.processes
        };
        assert_eq!(next().await, []);
        board.show(state(0));
        assert!(next().now_or_never().is_none(), "it is too early for the next");
        for restart_count in 1..100 {
            board.show(state(restart_count));
        }
        assert_eq!(next().await, [state(99)]);
        board.show(state(99));
        tokio::time::sleep_until(Instant::now() + BETWEEN_EVENTS).await;
        assert!(next().now_or_never().is_none(), "nothing has changed");
    }
}
