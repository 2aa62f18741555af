//! What an agent answers in one document: the repository, the processes, the numbers.
//!
//! Answers are read and written anew, so that nothing else than what is documented comes through.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    body::Body,
    response::{IntoResponse, Response},
};
use berth_link::wire::{git, process, system, terminal};
use http::{HeaderValue, Method, Request, StatusCode, header};
use serde::Serialize;

use super::{
    agent::{Agent, DOCUMENT, PATIENCE, bounded, document, request as asking, with_query},
    body,
    objects::DevServerView,
    operation::{GitChange, Operation},
    problem::Problem,
    query::Query,
};

/// Most bytes of a list of paths or a commit's message.
const MOST_INPUT: usize = 1 << 20;
/// Most bytes of a difference.
const MOST_DIFF: u64 = 64 << 20;
/// Time for what runs git, hooks of commits among it.
const GIT_PATIENCE: Duration = Duration::from_secs(50);

/// Does what one document is the answer to.
pub async fn perform(
    agent: &Agent,
    operation: Operation,
    dev_server: Option<Arc<DevServerView>>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    match (operation, dev_server) {
        (Operation::GitStatus, _) => shown(agent.get::<git::GitStatus>("/v1/git/status").await?),
        (Operation::GitDiff, _) => diff(agent, request.uri().query()).await,
        (Operation::GitChange(change), _) => change_repository(agent, change, request).await,
        (Operation::Processes, _) => shown(agent.get::<process::Processes>("/v1/processes").await?),
        (Operation::SystemProcesses, _) => {
            shown(agent.get::<system::SystemProcesses>("/v1/system/processes").await?)
        }
        (Operation::RestartProcess(id), _) => restart(agent, &id).await,
        (Operation::RestartDevServer, Some(known)) => restart(agent, &known.process).await,
        (Operation::Errors, Some(known)) => {
            let path = format!("/v1/processes/{}/errors", known.process);
            shown(agent.get::<process::DetectedErrors>(&path).await?)
        }
        (Operation::Activity, _) => shown(agent.get::<system::Activity>("/v1/activity").await?),
        (Operation::Stats, _) => shown(agent.get::<system::Stats>("/v1/stats").await?),
        (Operation::Terminals, _) => shown(agent.get::<terminal::Terminals>("/v1/terminals").await?),
        (Operation::EndTerminal(name), _) => {
            let path = format!("/v1/terminals/{name}");
            agent.send(asking(Method::DELETE, &path, Body::empty())?, PATIENCE).await?;
            Ok(StatusCode::NO_CONTENT.into_response())
        }
        (operation, _) => Err(Problem::not_found(format!("{operation:?} is not served"))),
    }
}

fn shown(value: impl Serialize) -> Result<Response, Problem> {
    Ok(Json(value).into_response())
}

async fn diff(agent: &Agent, query: Option<&str>) -> Result<Response, Problem> {
    let query = Query::parse(query, &["staged", "path"])?;
    let mut pairs = Vec::new();
    pairs.extend(query.flag("staged")?.unwrap_or(false).then(|| ("staged", "true".to_owned())));
    pairs.extend(query.text("path").map(|path| ("path", path.to_owned())));
    let path = with_query("/v1/git/diff", pairs);
    let answer = agent.send(asking(Method::GET, &path, Body::empty())?, GIT_PATIENCE).await?;
    let mut response = Response::new(bounded(answer.into_body(), MOST_DIFF, Some(GIT_PATIENCE)));
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    Ok(response)
}

async fn change_repository(
    agent: &Agent,
    change: GitChange,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let path = format!("/v1/git/{}", change.word());
    match change {
        GitChange::Commit => {
            let commit: git::Commit = body::json(request, MOST_INPUT).await?;
            if commit.message.trim().is_empty() {
                return Err(Problem::invalid("message: a commit needs one"));
            }
            let answer = agent.send_document(Method::POST, &path, &commit, GIT_PATIENCE).await?;
            shown(document::<git::Committed>(answer, DOCUMENT).await?)
        }
        GitChange::Stage | GitChange::Unstage | GitChange::Discard => {
            let paths: git::Paths = body::json(request, MOST_INPUT).await?;
            agent.send_document(Method::POST, &path, &paths, GIT_PATIENCE).await?;
            Ok(StatusCode::NO_CONTENT.into_response())
        }
    }
}

async fn restart(agent: &Agent, id: &process::ProcessId) -> Result<Response, Problem> {
    let path = format!("/v1/processes/{id}/restart");
    agent.send(asking(Method::POST, &path, Body::empty())?, PATIENCE).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
