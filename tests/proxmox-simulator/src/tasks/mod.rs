//! Worker tasks: how they are forked, what they log and how they end.

pub mod reads;
pub mod upid;

use std::sync::Arc;

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use self::upid::Upid;
use crate::{access::Identity, clock, cluster::Cluster};

/// A task, running or ended.
#[derive(Clone, Debug, Serialize)]
pub struct Task {
    /// What its name says.
    pub upid: Upid,
    /// The lines of its log.
    pub log: Vec<String>,
    /// How it ended; none while it runs.
    pub exit: Option<String>,
    /// When it ended, in seconds since 1970.
    pub ended: Option<u64>,
    /// Warnings so far.
    pub warnings: u32,
    /// Asks it to end.
    #[serde(skip)]
    pub abort: CancellationToken,
    /// Ends it without its tidying up.
    #[serde(skip)]
    pub kill: CancellationToken,
}

/// What a task's work sees of its task.
#[derive(Clone)]
pub struct Worker {
    /// The cluster.
    pub cluster: Arc<Cluster>,
    /// The task's name.
    pub upid: String,
    kind: String,
    id: String,
    abort: CancellationToken,
}

impl Worker {
    /// Writes a line.
    pub fn log(&self, line: impl Into<String>) {
        if let Some(task) = self.cluster.state().tasks.get_mut(&self.upid) {
            task.log.push(line.into());
        }
    }

    /// Writes a warning, which shows in the exit status.
    pub fn warn(&self, line: &str) {
        self.log(format!("WARN: {line}"));
        if let Some(task) = self.cluster.state().tasks.get_mut(&self.upid) {
            task.warnings += 1;
        }
    }

    /// Works for as long as a real one works this many seconds.
    ///
    /// # Errors
    ///
    /// That somebody ended it, or what a fault says.
    pub async fn work(&self, seconds: f64) -> Result<(), String> {
        if let Some(words) = self.cluster.faults.task_error(&self.kind, &self.id) {
            return Err(words);
        }
        let time = self.cluster.clock.work(seconds) + self.cluster.faults.task_delay(&self.kind, &self.id);
        self.unless_aborted(tokio::time::sleep(time)).await
    }

    /// Something that an abort ends.
    ///
    /// # Errors
    ///
    /// That somebody ended it.
    pub async fn unless_aborted<T>(&self, work: impl Future<Output = T>) -> Result<T, String> {
        tokio::select! {
            done = work => Ok(done),
            () = self.abort.cancelled() => Err("interrupted by signal".into()),
        }
    }
}

/// Starts a worker and returns its UPID.
pub fn fork<W, F>(
    cluster: &Arc<Cluster>,
    identity: &Identity,
    node: &str,
    kind: &str,
    id: &str,
    work: W,
) -> String
where
    W: FnOnce(Worker) -> F,
    F: Future<Output = Result<(), String>> + Send + 'static,
{
    let (abort, kill) = (CancellationToken::new(), CancellationToken::new());
    let upid = {
        let mut state = cluster.state();
        state.last_pid += 1;
        let upid = Upid {
            node: node.to_owned(),
            pid: state.last_pid,
            pstart: u64::from(state.last_pid) * 100,
            start: clock::now(),
            kind: kind.to_owned(),
            id: id.to_owned(),
            user: identity.name(),
        };
        let name = upid.to_string();
        let (abort, kill) = (abort.clone(), kill.clone());
        let task = Task { upid, log: Vec::new(), exit: None, ended: None, warnings: 0, abort, kill };
        state.tasks.insert(name.clone(), task);
        name
    };
    let worker = Worker {
        cluster: Arc::clone(cluster),
        upid: upid.clone(),
        kind: kind.to_owned(),
        id: id.to_owned(),
        abort,
    };
    let work = work(worker.clone());
    tokio::spawn(async move {
        let result = tokio::select! {
            result = work => Some(result),
            () = kill.cancelled() => None,
        };
        end(&worker, result);
    });
    upid
}

fn end(worker: &Worker, result: Option<Result<(), String>>) {
    let mut state = worker.cluster.state();
    let Some(task) = state.tasks.get_mut(&worker.upid) else { return };
    let exit = match result {
        Some(Ok(())) if task.warnings > 0 => format!("WARNINGS: {}", task.warnings),
        Some(Ok(())) => "OK".into(),
        Some(Err(words)) => {
            let words = words.trim_end().to_owned();
            task.log.push(format!("TASK ERROR: {words}"));
            task.exit = Some(words.replace('\n', " "));
            task.ended = Some(clock::now());
            return;
        }
        None => "unexpected status".into(),
    };
    if exit != "unexpected status" {
        task.log.push(format!("TASK {exit}"));
    }
    task.exit = Some(exit);
    task.ended = Some(clock::now());
}
