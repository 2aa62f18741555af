//! Running git: one operation at a time, within a time, and with a bounded answer.

use std::{
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use berth_link::wire::AgentProblem;
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    process::{Child, Command},
    sync::{Mutex, OwnedMutexGuard},
    time::timeout,
};

/// Time for one command. A hook may do much.
const LIMIT: Duration = Duration::from_secs(60);
/// Time to tidy up (git removes its lock files) once that is over.
const GRACE: Duration = Duration::from_secs(5);
/// Most bytes of what git says about what it does.
const WORDS: u64 = 64 << 10;
/// Most of those bytes that are passed on.
const SHOWN: usize = 8 << 10;

/// The workspace's repository.
#[derive(Debug)]
pub struct Repository {
    folder: PathBuf,
    turn: Arc<Mutex<()>>,
}

/// The right to run commands: nobody else runs any meanwhile.
#[derive(Debug)]
pub struct Turn {
    folder: PathBuf,
    _turn: OwnedMutexGuard<()>,
}

/// What a command left.
#[derive(Debug)]
pub struct Done {
    /// How it ended.
    pub status: ExitStatus,
    /// Its output.
    pub output: Vec<u8>,
    /// Whether there was more output than was asked for.
    pub cut: bool,
    /// What it said about what it did.
    pub words: String,
}

impl Repository {
    /// In this folder, where there is one.
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), turn: Arc::default() }
    }

    /// Waits for the right to run commands.
    pub async fn turn(&self) -> Turn {
        Turn { folder: self.folder.clone(), _turn: Arc::clone(&self.turn).lock_owned().await }
    }
}

impl Turn {
    /// Runs git; its way to end is told, not judged.
    ///
    /// # Errors
    ///
    /// `NoRepository`; `TimedOut`; `GitFailed` where git can not be run at all.
    pub async fn attempt(&self, arguments: &[&str], input: &[u8], most: u64) -> Result<Done, AgentProblem> {
        let failed = |error| AgentProblem::new("GitFailed", format!("git can not be run: {error}"));
        let mut child = self.command(arguments).spawn().map_err(failed)?;
        let group = child.id().and_then(|id| id.try_into().ok()).map(Pid::from_raw);
        let Ok(done) = timeout(LIMIT, finish(&mut child, input, most)).await else {
            end(&mut child, group).await;
            let words = format!("git took longer than {} s and was ended", LIMIT.as_secs());
            return Err(AgentProblem::new("TimedOut", words));
        };
        let done = done.map_err(failed)?;
        if matches!(done.status.code(), Some(128 | 129))
            && done.words.to_ascii_lowercase().contains("not a git repository")
        {
            return Err(AgentProblem::new("NoRepository", "there is no repository in the workspace"));
        }
        Ok(done)
    }

    /// Runs git, which has to succeed.
    ///
    /// # Errors
    ///
    /// Those of [`Turn::attempt`]; `NotFound` for a path that git does not know; `GitFailed` with
    /// git's words.
    pub async fn run(&self, arguments: &[&str], input: &[u8], most: u64) -> Result<Done, AgentProblem> {
        let done = self.attempt(arguments, input, most).await?;
        if done.status.success() {
            return Ok(done);
        }
        let unknown = done.words.contains("did not match any file");
        Err(done.problem(if unknown { "NotFound" } else { "GitFailed" }))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("git");
        command.args(["--no-pager", "--literal-pathspecs"]).args(arguments).current_dir(&self.folder);
        for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
            command.env_remove(name);
        }
        command
            // A repository above the workspace is not the workspace's.
            .env("GIT_CEILING_DIRECTORIES", self.folder.parent().unwrap_or(Path::new("/")))
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_EDITOR", "true")
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        command
    }
}

impl Done {
    /// Its failure, with what was said.
    pub fn problem(&self, code: &str) -> AgentProblem {
        let output = String::from_utf8_lossy(&self.output);
        let words = format!("{}\n{output}", self.words);
        let words = words.trim();
        let from = words.len().saturating_sub(SHOWN);
        let from = (from..words.len()).find(|at| words.is_char_boundary(*at)).unwrap_or(0);
        let mut problem = AgentProblem::new(code, words.lines().next().unwrap_or("git failed"));
        problem.details.insert("output".to_owned(), words.get(from..).unwrap_or_default().to_owned());
        problem
    }
}

/// Gives a command its input, and takes its output until it ends.
async fn finish(child: &mut Child, input: &[u8], most: u64) -> std::io::Result<Done> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let feeding = async {
        if let Some(mut stdin) = stdin {
            // A command that does not want all of it is judged by how it ends.
            let _ = stdin.write_all(input).await;
        }
    };
    let hearing = take(stderr, WORDS);
    let ((), output, words) = tokio::join!(feeding, take(stdout, most.saturating_add(1)), hearing);
    let mut output = output?;
    let cut = output.len() as u64 > most;
    output.truncate(usize::try_from(most).unwrap_or(usize::MAX));
    let words = String::from_utf8_lossy(&words?).into_owned();
    let status = child.wait().await?;
    Ok(Done { status, output, cut, words })
}

/// Reads so much; the rest is let go by, so that nobody waits for it to be read.
async fn take(from: Option<impl AsyncRead + Unpin>, most: u64) -> std::io::Result<Vec<u8>> {
    let mut taken = Vec::new();
    if let Some(mut from) = from {
        (&mut from).take(most).read_to_end(&mut taken).await?;
        tokio::io::copy(&mut from, &mut tokio::io::sink()).await?;
    }
    Ok(taken)
}

/// Ends a command with all that it started.
async fn end(child: &mut Child, group: Option<Pid>) {
    let Some(group) = group else { return };
    let _ = killpg(group, Signal::SIGTERM);
    let _ = timeout(GRACE, child.wait()).await;
    let _ = killpg(group, Signal::SIGKILL);
    let _ = child.wait().await;
}
