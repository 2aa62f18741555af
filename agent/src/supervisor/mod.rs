//! Owns supervised processes and terminals. Speaks HTTP/2 on a Unix socket.
//!
//! What becomes of a process is decided in `machine`, which has no clock, no process and no file.
//! The rest are thin edges: a `keeper` carries out what its machine says, `run` is one run of a
//! process, `output` and `log` take down what it says, `errors` finds what is wrong in it, and
//! `terminals` stand apart from all that.
//!
//! Nothing here knows the gateway, nor Kubernetes: the link's process passes on what it is asked.

use std::{os::unix::fs::PermissionsExt, path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context as _;
use axum::Router;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::{
    net::{UnixListener, UnixStream},
    signal::unix::{SignalKind, signal},
};
use tokio_util::{
    sync::CancellationToken,
    task::{AbortOnDropHandle, TaskTracker},
};
use tower::ServiceExt as _;

use crate::{activity::ActivityLog, config, users::User};

mod board;
mod errors;
mod files;
pub(crate) mod group;
mod keeper;
mod lines;
mod log;
mod log_stream;
mod machine;
mod output;
mod probe;
mod problem;
mod processes;
mod routes;
mod run;
pub(crate) mod surroundings;
mod terminals;
#[cfg(test)]
mod tests;

use processes::ProcessSet;
pub use routes::router;
use terminals::Terminals;

/// Wait before the next connection, when one could not be taken.
const AFTER_REFUSAL: Duration = Duration::from_millis(100);

/// What a supervisor is given.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The Unix socket that it listens on.
    pub socket: PathBuf,
    /// Folder for what its successor needs, should it be killed. Best in memory: it is worth
    /// nothing after the container has ended, and it holds environments.
    pub state: PathBuf,
    /// Folder for the logs of the processes.
    pub logs: PathBuf,
    /// Folder that terminals start in.
    pub workspace: PathBuf,
    /// Home of the user.
    pub home: PathBuf,
    /// Name of the user.
    pub user: String,
    /// Login shell of the user.
    pub shell: PathBuf,
}

/// The processes and the terminals of a workspace.
pub struct Supervisor {
    processes: ProcessSet,
    terminals: Terminals,
    /// Work on the terminals.
    activity: Arc<ActivityLog>,
}

impl Supervisor {
    /// Ends what a killed predecessor left, and goes on with what was wanted of it.
    pub async fn take_over(settings: Settings) -> anyhow::Result<Arc<Self>> {
        let settings = Arc::new(settings);
        let terminals = Terminals::new(settings.clone());
        let processes = ProcessSet::take_over(settings).await?;
        Ok(Arc::new(Self { processes, terminals, activity: Arc::default() }))
    }

    /// Ends all processes and terminals.
    pub async fn leave(&self) {
        tokio::join!(self.processes.leave(), self.terminals.leave());
    }
}

/// Supervises as this user, who it is already, until the init says that it is enough.
pub async fn run(user: &User) -> anyhow::Result<()> {
    let settings = Settings {
        socket: config::SUPERVISOR_SOCKET.into(),
        state: config::STATE.into(),
        logs: config::LOGS.into(),
        workspace: config::WORKSPACE.into(),
        home: user.home.clone(),
        user: user.name.clone(),
        shell: user.shell.clone(),
    };
    let mut terminate = signal(SignalKind::terminate())?;
    let stop = CancellationToken::new();
    let asked = stop.clone();
    let _waiting = AbortOnDropHandle::new(tokio::spawn(async move {
        terminate.recv().await;
        asked.cancel();
    }));
    serve(settings, stop).await
}

/// Supervises until it is told to stop; then ends all that it has started.
pub async fn serve(settings: Settings, stop: CancellationToken) -> anyhow::Result<()> {
    let listener = listen(&settings).await?;
    let supervisor = Supervisor::take_over(settings).await?;
    let router = router(supervisor.clone());
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // No more open files, perhaps: what runs must go on, and this may pass.
                tracing::warn!("a connection was not taken: {error}");
                tokio::time::sleep(AFTER_REFUSAL).await;
                continue;
            }
        };
        connections.spawn(stop.clone().run_until_cancelled_owned(answer(stream, router.clone())));
    }
    supervisor.leave().await;
    connections.close();
    connections.wait().await;
    Ok(())
}

async fn listen(settings: &Settings) -> anyhow::Result<UnixListener> {
    let path = &settings.socket;
    if let Some(folder) = path.parent() {
        files::make_folder(folder).with_context(|| format!("{} can not be made", folder.display()))?;
    }
    if UnixStream::connect(path).await.is_ok() {
        anyhow::bail!("another supervisor listens on {}", path.display());
    }
    // Left by one that was killed.
    drop(std::fs::remove_file(path));
    let listener = UnixListener::bind(path).with_context(|| format!("no socket at {}", path.display()))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

async fn answer(stream: UnixStream, router: Router) {
    let service =
        service_fn(move |request: http::Request<hyper::body::Incoming>| router.clone().oneshot(request));
    if let Err(error) = berth_link::transport::server().serve_connection(TokioIo::new(stream), service).await
    {
        tracing::debug!("a connection ended: {error}");
    }
}
