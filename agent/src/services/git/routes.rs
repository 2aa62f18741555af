//! The routes.

use std::{
    path::{Component, Path},
    sync::Arc,
};

use axum::{
    Json, Router,
    extract::{
        DefaultBodyLimit, Query, State,
        rejection::{JsonRejection, QueryRejection},
    },
    response::{IntoResponse, Response},
    routing::{get, post},
};
use berth_link::wire::{
    AgentProblem,
    git::{Commit, Committed, DiffQuery, GitStatus, Paths},
};
use http::{StatusCode, header};

use super::{
    command::{Repository, Turn},
    status,
};
use crate::services::{Settings, files::Refused};

/// Most bytes of a request.
const DOCUMENT: usize = 1 << 20;
/// Most bytes of a difference.
const DIFFERENCE: u64 = 2 << 20;
/// Most bytes of what git lists.
const LIST: u64 = 16 << 20;
/// Most bytes of any other answer.
const SHORT: u64 = 64 << 10;
/// Most paths of a request, so that they fit a command line.
const PATHS: usize = 1_000;
/// Longest path in bytes; together they have to fit a command line as well.
const PATH: usize = 1_000;

/// The routes.
pub fn router(settings: &Settings) -> Router {
    Router::new()
        .route("/v1/git/status", get(look))
        .route("/v1/git/diff", get(diff))
        .route("/v1/git/stage", post(stage))
        .route("/v1/git/unstage", post(unstage))
        .route("/v1/git/discard", post(discard))
        .route("/v1/git/commit", post(commit))
        .layer(DefaultBodyLimit::max(DOCUMENT))
        .with_state(Arc::new(Repository::new(&settings.workspace)))
}

async fn look(State(repository): State<Arc<Repository>>) -> Result<Json<GitStatus>, Refused> {
    through(repository, |turn| async move {
        let arguments = ["status", "--porcelain=v2", "--branch", "-z", "--untracked-files=all"];
        let done = turn.run(&[&["--no-optional-locks"], &arguments[..]].concat(), b"", LIST).await?;
        Ok(Json(status::parse(&done.output, done.cut)))
    })
    .await
}

async fn diff(
    State(repository): State<Arc<Repository>>,
    query: Result<Query<DiffQuery>, QueryRejection>,
) -> Result<Response, Refused> {
    let Query(query) = query?;
    let paths = checked(query.path.into_iter().collect())?;
    through(repository, move |turn| async move {
        let mut arguments = vec!["--no-optional-locks", "diff", "--no-color", "--no-ext-diff"];
        arguments.extend(query.staged.then_some("--cached"));
        let mut difference = turn.run(&with_paths(&arguments, &paths), b"", DIFFERENCE).await?;
        if difference.cut {
            let lines = difference.output.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            difference.output.truncate(lines);
        }
        Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], difference.output).into_response())
    })
    .await
}

async fn stage(
    State(repository): State<Arc<Repository>>,
    paths: Result<Json<Paths>, JsonRejection>,
) -> Result<StatusCode, Refused> {
    let paths = checked(paths?.0.paths)?;
    through(repository, |turn| async move {
        turn.run(&with_paths(&["add", "--all"], &paths), b"", SHORT).await?;
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}

async fn unstage(
    State(repository): State<Arc<Repository>>,
    paths: Result<Json<Paths>, JsonRejection>,
) -> Result<StatusCode, Refused> {
    let paths = checked(paths?.0.paths)?;
    through(repository, |turn| async move {
        // Without a path this would also give up a merge that is under way.
        let paths = if paths.is_empty() { vec![".".to_owned()] } else { paths };
        turn.run(&with_paths(&["reset", "--quiet"], &paths), b"", SHORT).await?;
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}

/// Brings files back to what is staged. Files that git does not know are only deleted when they,
/// or a folder that they are in, are named.
async fn discard(
    State(repository): State<Arc<Repository>>,
    paths: Result<Json<Paths>, JsonRejection>,
) -> Result<StatusCode, Refused> {
    let paths = checked(paths?.0.paths)?;
    through(repository, |turn| async move {
        let known = turn.run(&with_paths(&["ls-files", "-z"], &paths), b"", LIST).await?;
        if known.cut {
            return Err(AgentProblem::new("GitFailed", "too many files at once").into());
        }
        if !known.output.is_empty() {
            let arguments = ["restore", "--worktree", "--pathspec-from-file=-", "--pathspec-file-nul"];
            turn.run(&arguments, &known.output, SHORT).await?;
        }
        if !paths.is_empty() {
            turn.run(&with_paths(&["clean", "--force", "-d", "--quiet"], &paths), b"", SHORT).await?;
        }
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}

async fn commit(
    State(repository): State<Arc<Repository>>,
    commit: Result<Json<Commit>, JsonRejection>,
) -> Result<Json<Committed>, Refused> {
    let message = commit?.0.message;
    if message.trim().is_empty() || message.contains('\0') {
        return Err(AgentProblem::new("Invalid", "message: what was done?").into());
    }
    through(repository, |turn| async move {
        if turn.attempt(&["diff", "--cached", "--quiet"], b"", SHORT).await?.status.success()
            && !turn
                .attempt(&["rev-parse", "-q", "--verify", "MERGE_HEAD"], b"", SHORT)
                .await?
                .status
                .success()
        {
            return Err(AgentProblem::new("NothingToCommit", "nothing is staged").into());
        }
        let arguments = ["commit", "--quiet", "--cleanup=whitespace", "--file=-"];
        let done = turn.attempt(&arguments, message.as_bytes(), SHORT).await?;
        if !done.status.success() {
            return Err(done.problem("CommitFailed").into());
        }
        let head = turn.run(&["rev-parse", "HEAD"], b"", SHORT).await?.output;
        Ok(Json(Committed { head: String::from_utf8_lossy(&head).trim().to_owned() }))
    })
    .await
}

/// Does something with the repository, to its end: a caller that goes away must not leave half of
/// it, nor a lock.
async fn through<T, Work>(
    repository: Arc<Repository>,
    work: impl FnOnce(Turn) -> Work + Send + 'static,
) -> Result<T, Refused>
where
    T: Send + 'static,
    Work: Future<Output = Result<T, Refused>> + Send,
{
    let done = tokio::spawn(async move { work(repository.turn().await).await }).await;
    done.map_err(|error| AgentProblem::new("Internal", error.to_string()))?
}

fn with_paths<'a>(arguments: &[&'a str], paths: &'a [String]) -> Vec<&'a str> {
    arguments.iter().copied().chain(["--"]).chain(paths.iter().map(String::as_str)).collect()
}

/// Paths below the repository, and none that is the whole of it.
fn checked(paths: Vec<String>) -> Result<Vec<String>, AgentProblem> {
    let plain = |path: &String| {
        let mut parts = Path::new(path).components().peekable();
        parts.peek().is_some()
            && parts.all(|part| matches!(part, Component::Normal(_)))
            && path.len() <= PATH
            && !path.contains('\0')
    };
    match paths.iter().find(|path| !plain(path)) {
        _ if paths.len() > PATHS => Err(AgentProblem::new("Invalid", format!("paths: at most {PATHS}"))),
        Some(path) => {
            let words = format!("{path}: no path below the repository, or one of more than {PATH} bytes");
            Err(AgentProblem::new("Invalid", words))
        }
        None => Ok(paths),
    }
}
