//! `exec`: a command that is waited for, or one with its streams over a WebSocket.

use std::{collections::BTreeMap, time::Duration};

use axum::{
    Json,
    body::Body,
    response::{IntoResponse, Response},
};
use berth_link::wire::{
    exec::{Command, ExecRequest, ExecResult, ExecStart},
    frame::{Frame, Kind},
    terminal::Size,
};
use http::{Method, Request};
use serde::Deserialize;

use super::{
    Settings,
    agent::{Agent, document},
    body,
    channels::Handshake,
    frames,
    gate::Admission,
    problem::Problem,
    query::Query,
    session::{self, Streams},
};

/// Time for a command that sets none.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
/// What is kept of each output where nothing else is wanted, in bytes.
const DEFAULT_OUTPUT: u64 = 64 << 10;
/// Most that can be kept of each output, in bytes.
const MOST_OUTPUT: u64 = 1 << 20;
/// Most bytes of a request: standard input is in it.
const MOST_INPUT: usize = 4 << 20;
/// Time beyond the command's own for an agent to say how it went.
const GRACE: Duration = Duration::from_secs(15);

/// What `POST exec` takes.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct ExecBody {
    /// The command and its arguments, without a shell. Not with `shell`.
    pub command: Vec<String>,
    /// A line for the user's login shell.
    pub shell: Option<String>,
    /// Folder to start in, absolute or below the workspace.
    pub cwd: Option<String>,
    /// Environment variables beside those of the workspace.
    pub env: BTreeMap<String, String>,
    /// What it reads from standard input.
    pub stdin: Option<String>,
    /// It is killed after so many milliseconds; absent: 30,000.
    pub timeout_ms: Option<u64>,
    /// So many bytes of each output are kept, the last ones; absent: 65,536, at most 1,048,576.
    pub max_bytes: Option<u64>,
}

/// Reads what `POST exec` takes.
pub async fn exec_request(request: Request<Body>, settings: &Settings) -> Result<ExecRequest, Problem> {
    let body: ExecBody = body::json(request, MOST_INPUT).await?;
    checked(body, settings)
}

fn checked(body: ExecBody, settings: &Settings) -> Result<ExecRequest, Problem> {
    let longest = u64::try_from(settings.longest_exec.as_millis()).unwrap_or(u64::MAX);
    let timeout = body.timeout_ms.unwrap_or(longest.min(to_millis(DEFAULT_TIMEOUT)));
    if timeout == 0 || timeout > longest {
        return Err(Problem::invalid(format!("timeoutMs: from 1 to {longest}")));
    }
    let kept = body.max_bytes.unwrap_or(DEFAULT_OUTPUT);
    if kept == 0 || kept > MOST_OUTPUT {
        return Err(Problem::invalid(format!("maxBytes: from 1 to {MOST_OUTPUT}")));
    }
    let command = command(body.command, body.shell, body.cwd, body.env)?;
    if command.argv.is_empty() && command.shell.is_none() {
        return Err(Problem::invalid("command or shell is wanted"));
    }
    Ok(ExecRequest { command, stdin: body.stdin, timeout_ms: Some(timeout), max_bytes: Some(kept) })
}

fn to_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn command(
    argv: Vec<String>,
    shell: Option<String>,
    cwd: Option<String>,
    env: BTreeMap<String, String>,
) -> Result<Command, Problem> {
    let shell = shell.filter(|line| !line.trim().is_empty());
    if !argv.is_empty() && shell.is_some() {
        return Err(Problem::invalid("command and shell can not both be set"));
    }
    let nul = |text: &str| text.contains('\0');
    let with_nul = argv.iter().any(|word| nul(word))
        || shell.as_deref().is_some_and(nul)
        || cwd.as_deref().is_some_and(nul)
        || env.iter().any(|(name, value)| nul(name) || nul(value));
    if with_nul {
        return Err(Problem::invalid("a command can not hold NUL characters"));
    }
    if let Some(name) = env.keys().find(|name| name.is_empty() || name.contains('=')) {
        return Err(Problem::invalid(format!("env: {name:?} is no name of a variable")));
    }
    Ok(Command { argv, shell, cwd, env })
}

/// Runs a command and waits for it.
pub async fn run(agent: &Agent, settings: &Settings, request: Request<Body>) -> Result<Response, Problem> {
    let wanted = exec_request(request, settings).await?;
    let patience = Duration::from_millis(wanted.timeout_ms.unwrap_or_default()) + GRACE;
    let answer = agent.send_document(Method::POST, "/v1/exec", &wanted, patience).await?;
    let result: ExecResult = document(answer, largest_answer(&wanted)).await?;
    Ok(Json(result).into_response())
}

/// An answer with both outputs, each character of them escaped.
fn largest_answer(wanted: &ExecRequest) -> usize {
    let output = usize::try_from(wanted.max_bytes.unwrap_or(DEFAULT_OUTPUT)).unwrap_or(usize::MAX);
    output.saturating_mul(12).saturating_add(64 << 10)
}

/// Runs a command with its streams over a WebSocket.
pub async fn stream(
    agent: &Agent,
    mut request: Request<Body>,
    admission: Admission,
) -> Result<Response, Problem> {
    let (start, streams) = start(request.uri().query())?;
    let handshake = Handshake::begin(&mut request)?;
    let first = Frame::json(Kind::Start, &start).map_err(|error| Problem::bad_request(error.to_string()))?;
    let (to_agent, from_agent) = frames::open(agent, "/v1/exec/stream", Some(first)).await?;
    handshake.accept(move |sender, receiver| {
        session::run(sender, receiver, to_agent, from_agent, streams, admission)
    })
}

/// What a query asks for. Output is wanted unless the query says otherwise.
fn start(query: Option<&str>) -> Result<(ExecStart, Streams), Problem> {
    let query = Query::parse(
        query,
        &["command", "shell", "stdin", "stdout", "stderr", "tty", "cwd", "env", "cols", "rows", "timeoutMs"],
    )?;
    let mut env = BTreeMap::new();
    for variable in query.all("env") {
        let (name, value) = variable
            .split_once('=')
            .ok_or_else(|| Problem::invalid(format!("env: {variable:?} has no '='")))?;
        env.insert(name.to_owned(), value.to_owned());
    }
    let command = command(
        query.all("command").map(str::to_owned).collect(),
        query.text("shell").map(str::to_owned),
        query.text("cwd").map(str::to_owned),
        env,
    )?;
    let tty = query.flag("tty")?.unwrap_or(false).then(|| size(&query)).transpose()?;
    if command.argv.is_empty() && command.shell.is_none() && tty.is_none() {
        return Err(Problem::invalid("without a terminal, command or shell is wanted"));
    }
    let stdin = query.flag("stdin")?.unwrap_or(false);
    let streams = Streams {
        stdin,
        stdout: query.flag("stdout")?.unwrap_or(true),
        stderr: query.flag("stderr")?.unwrap_or(true),
    };
    Ok((ExecStart { command, stdin, tty, timeout_ms: query.value("timeoutMs")? }, streams))
}

/// The size of the client's window.
pub fn size(query: &Query) -> Result<Size, Problem> {
    let size = Size {
        cols: query.value("cols")?.unwrap_or(Size::default().cols),
        rows: query.value("rows")?.unwrap_or(Size::default().rows),
    };
    if size.cols == 0 || size.rows == 0 {
        return Err(Problem::invalid("cols and rows are at least 1"));
    }
    Ok(size)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn body(json: serde_json::Value) -> Result<ExecRequest, Problem> {
        checked(serde_json::from_value(json).unwrap(), &Settings::default())
    }

    #[test]
    fn a_command_gets_limits() {
        let request = body(serde_json::json!({"command": ["ls", "-l"]})).unwrap();
        assert_eq!(request.command.argv, ["ls", "-l"]);
        assert_eq!(request.timeout_ms, Some(30_000));
        assert_eq!(request.max_bytes, Some(65_536));
    }

    #[rstest]
    #[case(serde_json::json!({}))]
    #[case(serde_json::json!({"shell": " "}))]
    #[case(serde_json::json!({"command": ["ls"], "shell": "ls"}))]
    #[case(serde_json::json!({"command": ["l\u{0}s"]}))]
    #[case(serde_json::json!({"command": ["ls"], "env": {"A=B": "C"}}))]
    #[case(serde_json::json!({"command": ["ls"], "timeoutMs": 0}))]
    #[case(serde_json::json!({"command": ["ls"], "timeoutMs": 600_001}))]
    #[case(serde_json::json!({"command": ["ls"], "maxBytes": 1_048_577}))]
    fn what_can_not_be_is_refused(#[case] json: serde_json::Value) {
        assert_eq!(body(json).unwrap_err().reason, super::super::problem::Reason::Invalid);
    }

    #[test]
    fn a_query_is_a_command() {
        let (start, streams) =
            start(Some("command=env&command=-0&stdin=true&stderr=false&cwd=src&env=A=B=C")).unwrap();
        assert_eq!(start.command.argv, ["env", "-0"]);
        assert_eq!(start.command.cwd.as_deref(), Some("src"));
        assert_eq!(start.command.env["A"], "B=C");
        assert!(start.stdin && start.tty.is_none());
        assert_eq!(streams, Streams { stdin: true, stdout: true, stderr: false });
    }

    #[test]
    fn a_terminal_needs_no_command() {
        let (start, _) = start(Some("tty=true&stdin=true&cols=80&rows=24")).unwrap();
        assert_eq!(start.tty, Some(Size { cols: 80, rows: 24 }));
    }

    #[rstest]
    #[case("stdin=true")]
    #[case("command=a&shell=b")]
    #[case("shell=a&env=A")]
    #[case("tty=true&cols=0")]
    #[case("tty=true&cols=wide")]
    #[case("commnd=ls")]
    fn a_query_that_is_none_is_refused(#[case] query: &str) {
        assert!(start(Some(query)).is_err());
    }
}
