//! Named terminals, which stay when their viewers leave.
//!
//! [`terminal`] is one terminal, [`view`] one viewer of it, [`ring`] the output that it keeps.
//! Supervised processes have nothing to do with any of this.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    Json, Router,
    body::Body,
    extract::{Path, Query, State, rejection::QueryRejection},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use berth_link::wire::{
    AgentProblem,
    process::ProcessId,
    terminal::{AttachQuery, Size, Terminals as Shown},
};
use futures::future::join_all;
use http::{StatusCode, header};

use super::{Settings, Supervisor, problem::Refused};
use terminal::Terminal;

mod ring;
mod terminal;
mod view;

/// So many terminals at a time.
const MOST: usize = 20;

type Open = Arc<Mutex<BTreeMap<String, Arc<Terminal>>>>;

/// All terminals.
pub struct Terminals {
    settings: Arc<Settings>,
    open: Open,
}

impl Terminals {
    /// None yet.
    pub fn new(settings: Arc<Settings>) -> Self {
        Self { settings, open: Open::default() }
    }

    /// Ends all of them.
    pub async fn leave(&self) {
        let open: Vec<_> = lock(&self.open).values().cloned().collect();
        join_all(open.iter().map(|terminal| terminal.end())).await;
    }

    fn shown(&self) -> Shown {
        Shown { terminals: lock(&self.open).values().map(|terminal| terminal.shown()).collect() }
    }

    fn find(&self, name: &str) -> Result<Arc<Terminal>, AgentProblem> {
        lock(&self.open).get(name).cloned().ok_or_else(|| not_found(name))
    }

    /// The terminal of this name; a new one, where there is none and that is not refused.
    fn join(&self, name: &str, query: &AttachQuery) -> Result<Arc<Terminal>, AgentProblem> {
        let size = query.cols.zip(query.rows).map(|(cols, rows)| Size { cols, rows });
        let mut open = lock(&self.open);
        if let Some(terminal) = open.get(name) {
            if let Some(size) = size {
                terminal.resize(size);
            }
            return Ok(Arc::clone(terminal));
        }
        if query.existing {
            return Err(not_found(name));
        }
        name.parse::<ProcessId>().map_err(|_| {
            let rule = "1 to 63 letters, digits, '-', '_' and '.', a letter or digit first";
            AgentProblem::new("Invalid", format!("{name:?} is no name of a terminal: {rule}"))
        })?;
        if open.len() >= MOST {
            let message = format!("there are {MOST} terminals already; end one first");
            return Err(AgentProblem::new("TooManyTerminals", message));
        }
        let (terminal, threads) = Terminal::open(name, size.unwrap_or_default(), &self.settings)
            .map_err(|error| AgentProblem::new("StartFailed", format!("{error:#}")))?;
        open.insert(name.to_owned(), Arc::clone(&terminal));
        let (all, ending) = (Arc::clone(&self.open), Arc::clone(&terminal));
        tokio::spawn(async move {
            let ended = ending.shell_ended(threads).await;
            lock(&all).remove(&ending.name);
            ending.tell_ended(ended);
        });
        Ok(terminal)
    }
}

/// The routes of terminals.
pub fn router() -> Router<Arc<Supervisor>> {
    Router::new().route("/v1/terminals", get(list)).route("/v1/terminals/{name}", post(attach).delete(end))
}

async fn list(State(supervisor): State<Arc<Supervisor>>) -> Json<Shown> {
    Json(supervisor.terminals.shown())
}

async fn attach(
    State(supervisor): State<Arc<Supervisor>>,
    Path(name): Path<String>,
    query: Result<Query<AttachQuery>, QueryRejection>,
    body: Body,
) -> Result<Response, Refused> {
    let Query(query) = query?;
    let terminal = supervisor.terminals.join(&name, &query)?;
    let same = query.terminal.as_ref().is_none_or(|id| *id == terminal.id);
    let since = query.since.filter(|_| same);
    let frames = Body::from_stream(view::view(terminal, since, body, Arc::clone(&supervisor.activity)));
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], frames).into_response())
}

async fn end(
    State(supervisor): State<Arc<Supervisor>>,
    Path(name): Path<String>,
) -> Result<StatusCode, Refused> {
    supervisor.terminals.find(&name)?.end().await;
    Ok(StatusCode::NO_CONTENT)
}

fn not_found(name: &str) -> AgentProblem {
    AgentProblem::new("TerminalNotFound", format!("there is no terminal {name}"))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
