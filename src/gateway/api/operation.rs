//! What can be asked of a workspace or a dev server: path and method on one side, what has to be
//! allowed for it on the other.
//!
//! The right that an operation needs does not follow from its HTTP method: whatever runs or
//! changes something needs `create`, so that a role with `get` on everything gives no shell.

use axum::http::Method;
use berth_link::wire::process::ProcessId;
use url::form_urlencoded;

use super::problem::{Problem, Reason};
use crate::controller::commands::Command;

/// The resources that have subresources here. The bare kinds are kube-apiserver's.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Resource {
    /// A Workspace.
    Workspaces,
    /// A DevServer.
    DevServers,
}

impl Resource {
    /// The word in paths and rules.
    pub fn word(self) -> &'static str {
        match self {
            Self::Workspaces => "workspaces",
            Self::DevServers => "devservers",
        }
    }

    /// The subresources, as discovery lists them.
    pub fn subresources(self) -> &'static [Subresource] {
        match self {
            Self::Workspaces => WORKSPACE_SUBRESOURCES,
            Self::DevServers => DEV_SERVER_SUBRESOURCES,
        }
    }
}

/// One subresource, as rules name it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Subresource {
    /// Its name.
    pub name: &'static str,
    /// The verbs that rules can give on it. kube-apiserver asks for the HTTP method's verb first,
    /// so a method beside `GET` and `POST` shows as one of its own. It asks for `watch` where a
    /// request is to last longer than it gives others.
    pub verbs: &'static [&'static str],
    /// The kind that goes over it.
    pub kind: &'static str,
}

const fn subresource(name: &'static str, kind: &'static str, verbs: &'static [&'static str]) -> Subresource {
    Subresource { name, verbs, kind }
}

const WORKSPACE_SUBRESOURCES: &[Subresource] = &[
    subresource("activity", "Activity", &["get"]),
    subresource("attach", "TerminalOptions", &["create", "get"]),
    subresource("events", "Event", &["get", "watch"]),
    subresource("exec", "ExecOptions", &["create", "get"]),
    subresource("exec-root", "ExecOptions", &["create", "watch"]),
    subresource("files", "File", &["create", "delete", "get", "update", "watch"]),
    subresource("git", "GitStatus", &["create", "get", "watch"]),
    subresource("log", "Log", &["get"]),
    subresource("portforward", "PortForwardOptions", &["create", "get"]),
    subresource("processes", "Processes", &["create", "get"]),
    subresource("proxy", "ProxyOptions", &["create", "delete", "get", "patch", "update"]),
    subresource("reset-host-key", "ResetHostKey", &["create"]),
    subresource("restart", "Restart", &["create"]),
    subresource("start", "Start", &["create"]),
    subresource("stats", "Stats", &["get"]),
    subresource("stop", "Stop", &["create"]),
    subresource("terminals", "Terminals", &["create", "delete", "get"]),
    subresource("ticket", "Ticket", &["create"]),
];

const DEV_SERVER_SUBRESOURCES: &[Subresource] = &[
    subresource("errors", "DetectedErrors", &["get"]),
    subresource("log", "Log", &["get"]),
    subresource("proxy", "ProxyOptions", &["create", "delete", "get", "patch", "update"]),
    subresource("restart", "Restart", &["create"]),
    subresource("ticket", "Ticket", &["create"]),
];

/// How often somebody may do something.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Class {
    /// Starts, stops and restarts.
    Lifecycle,
    /// Commands, terminals and connections.
    Exec,
    /// Files and the repository.
    Files,
    /// Everything that only looks.
    Read,
    /// Requests to an application, which come by the hundred for one page.
    Traffic,
}

/// What is asked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Operation {
    /// Run a command and wait for it.
    Exec,
    /// Run a command with its streams over a WebSocket.
    ExecStream,
    /// Run a command as root and wait for it.
    ExecRoot,
    /// Join a named terminal over a WebSocket.
    Attach,
    /// List the terminals.
    Terminals,
    /// End a terminal.
    EndTerminal(ProcessId),
    /// Open connections to ports over a WebSocket.
    PortForward,
    /// Pass an HTTP request on to a port.
    Proxy {
        /// The port; absent for the one of a dev server.
        port: Option<u16>,
        /// The path there, with its slash.
        path: String,
    },
    /// Read a file.
    ReadFile,
    /// Write a file.
    WriteFile,
    /// Delete a file or folder.
    DeleteFile,
    /// List a folder.
    ListFiles,
    /// Read a folder as a tar stream.
    ReadArchive,
    /// Unpack a tar stream into a folder.
    WriteArchive,
    /// How the repository stands.
    GitStatus,
    /// What changed in the repository.
    GitDiff,
    /// Change the repository.
    GitChange(GitChange),
    /// The supervised processes.
    Processes,
    /// Every process in the container.
    SystemProcesses,
    /// Start a supervised process again.
    RestartProcess(ProcessId),
    /// What only the controllers can do to the workspace.
    Command(Command),
    /// When somebody last worked.
    Activity,
    /// What the container uses.
    Stats,
    /// What the agent tells, as it happens.
    Events,
    /// What the container's processes printed.
    ContainerLog,
    /// The output of a dev server.
    Log,
    /// Errors in the output of a dev server.
    Errors,
    /// Start a dev server's process again.
    RestartDevServer,
    /// Make a ticket, with which a browser gets in.
    Ticket(Resource),
}

/// A change to the repository.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum GitChange {
    /// Put changes on the stage.
    Stage,
    /// Take changes off the stage.
    Unstage,
    /// Throw changes away.
    Discard,
    /// Commit what is staged.
    Commit,
}

impl GitChange {
    /// The word in paths, the agent's too.
    pub fn word(self) -> &'static str {
        match self {
            Self::Stage => "stage",
            Self::Unstage => "unstage",
            Self::Discard => "discard",
            Self::Commit => "commit",
        }
    }
}

impl Operation {
    /// The operation that a request asks for. `path` is what follows the object's name, still
    /// percent-encoded and without its first slash.
    pub fn parse(resource: Resource, path: &str, method: &Method, upgrade: bool) -> Result<Self, Problem> {
        let (name, rest) = path.split_once('/').unwrap_or((path, ""));
        if !resource.subresources().iter().any(|known| known.name == name) {
            return Err(unknown_subresource(resource, name));
        }
        if name == "proxy" {
            return proxy(resource, path.strip_prefix("proxy").unwrap_or_default());
        }
        let segments: Vec<_> =
            rest.split('/').filter(|segment| !segment.is_empty()).map(decoded).collect::<Result<_, _>>()?;
        let segments: Vec<_> = segments.iter().map(String::as_str).collect();
        let method = method.as_str();
        Ok(match (resource, name, segments.as_slice(), method) {
            (Resource::Workspaces, "exec", [], "GET") if upgrade => Self::ExecStream,
            (Resource::Workspaces, "exec", [], "POST") => Self::Exec,
            (Resource::Workspaces, "exec-root", [], "POST") => Self::ExecRoot,
            (Resource::Workspaces, "attach", [], "GET") if upgrade => Self::Attach,
            (Resource::Workspaces, "portforward", [], "GET") if upgrade => Self::PortForward,
            (Resource::Workspaces, "exec" | "attach" | "portforward", [], "GET") => {
                return Err(Problem::bad_request(format!("{name} with GET is a WebSocket")));
            }
            (Resource::Workspaces, "terminals", [], "GET") => Self::Terminals,
            (Resource::Workspaces, "terminals", [terminal], "DELETE") => {
                Self::EndTerminal(process(terminal)?)
            }
            (Resource::Workspaces, "files", [], "GET") => Self::ReadFile,
            (Resource::Workspaces, "files", [], "PUT") => Self::WriteFile,
            (Resource::Workspaces, "files", [], "DELETE") => Self::DeleteFile,
            (Resource::Workspaces, "files", ["list"], "GET") => Self::ListFiles,
            (Resource::Workspaces, "files", ["archive"], "GET") => Self::ReadArchive,
            (Resource::Workspaces, "files", ["archive"], "PUT") => Self::WriteArchive,
            (Resource::Workspaces, "git", [] | ["status"], "GET") => Self::GitStatus,
            (Resource::Workspaces, "git", ["diff"], "GET") => Self::GitDiff,
            (Resource::Workspaces, "git", ["stage"], "POST") => Self::GitChange(GitChange::Stage),
            (Resource::Workspaces, "git", ["unstage"], "POST") => Self::GitChange(GitChange::Unstage),
            (Resource::Workspaces, "git", ["discard"], "POST") => Self::GitChange(GitChange::Discard),
            (Resource::Workspaces, "git", ["commit"], "POST") => Self::GitChange(GitChange::Commit),
            (Resource::Workspaces, "processes", [], "GET") => Self::Processes,
            (Resource::Workspaces, "processes", ["system"], "GET") => Self::SystemProcesses,
            (Resource::Workspaces, "processes", [id, "restart"], "POST") => {
                Self::RestartProcess(process(id)?)
            }
            (Resource::Workspaces, name @ ("start" | "stop" | "restart" | "reset-host-key"), [], "POST") => {
                Self::Command(command(name)?)
            }
            (Resource::Workspaces, "activity", [], "GET") => Self::Activity,
            (Resource::Workspaces, "stats", [], "GET") => Self::Stats,
            (Resource::Workspaces, "events", [], "GET") => Self::Events,
            (Resource::Workspaces, "log", [], "GET") => Self::ContainerLog,
            (Resource::DevServers, "log", [], "GET") => Self::Log,
            (Resource::DevServers, "errors", [], "GET") => Self::Errors,
            (Resource::DevServers, "restart", [], "POST") => Self::RestartDevServer,
            (resource, "ticket", [], "POST") => Self::Ticket(resource),
            _ if reachable_by_another_method(resource, name, &segments) => {
                let message = format!("{}/{path} can not be asked with {method}", resource.word());
                return Err(Problem::new(Reason::MethodNotAllowed, message));
            }
            _ => return Err(Problem::not_found(format!("there is no {}/{path}", resource.word()))),
        })
    }

    /// The subresource that rules name.
    pub fn subresource(&self) -> &'static str {
        match self {
            Self::Exec | Self::ExecStream => "exec",
            Self::ExecRoot => "exec-root",
            Self::Attach => "attach",
            Self::Terminals | Self::EndTerminal(_) => "terminals",
            Self::PortForward => "portforward",
            Self::Proxy { .. } => "proxy",
            Self::ReadFile
            | Self::WriteFile
            | Self::DeleteFile
            | Self::ListFiles
            | Self::ReadArchive
            | Self::WriteArchive => "files",
            Self::GitStatus | Self::GitDiff | Self::GitChange(_) => "git",
            Self::Processes | Self::SystemProcesses | Self::RestartProcess(_) => "processes",
            Self::Command(command) => command.word(),
            Self::Activity => "activity",
            Self::Stats => "stats",
            Self::Events => "events",
            Self::ContainerLog | Self::Log => "log",
            Self::Errors => "errors",
            Self::RestartDevServer => "restart",
            // A ticket is good for nothing more than its maker may do.
            Self::Ticket(Resource::Workspaces) => "attach",
            Self::Ticket(Resource::DevServers) => "proxy",
        }
    }

    /// Whether it runs or changes something.
    pub fn changes(&self) -> bool {
        match self {
            Self::Exec
            | Self::ExecStream
            | Self::ExecRoot
            | Self::Attach
            | Self::EndTerminal(_)
            | Self::PortForward
            | Self::Proxy { .. }
            | Self::WriteFile
            | Self::DeleteFile
            | Self::WriteArchive
            | Self::GitChange(_)
            | Self::RestartProcess(_)
            | Self::Command(_)
            | Self::RestartDevServer
            | Self::Ticket(_) => true,
            Self::Terminals
            | Self::ReadFile
            | Self::ListFiles
            | Self::ReadArchive
            | Self::GitStatus
            | Self::GitDiff
            | Self::Processes
            | Self::SystemProcesses
            | Self::Activity
            | Self::Stats
            | Self::Events
            | Self::ContainerLog
            | Self::Log
            | Self::Errors => false,
        }
    }

    /// The verb that somebody needs on the subresource.
    pub fn verb(&self) -> &'static str {
        if self.changes() { "create" } else { "get" }
    }

    /// Which limit it counts against.
    pub fn class(&self) -> Class {
        match self {
            Self::Exec
            | Self::ExecStream
            | Self::ExecRoot
            | Self::Attach
            | Self::EndTerminal(_)
            | Self::PortForward
            | Self::Ticket(_) => Class::Exec,
            Self::Proxy { .. } => Class::Traffic,
            Self::ReadFile
            | Self::WriteFile
            | Self::DeleteFile
            | Self::ListFiles
            | Self::ReadArchive
            | Self::WriteArchive
            | Self::GitDiff
            | Self::GitChange(_) => Class::Files,
            Self::Command(_) | Self::RestartProcess(_) | Self::RestartDevServer => Class::Lifecycle,
            Self::Terminals
            | Self::GitStatus
            | Self::Processes
            | Self::SystemProcesses
            | Self::Activity
            | Self::Stats
            | Self::Events
            | Self::ContainerLog
            | Self::Log
            | Self::Errors => Class::Read,
        }
    }
}

fn reachable_by_another_method(resource: Resource, name: &str, segments: &[&str]) -> bool {
    match (resource, name, segments) {
        (_, _, []) => name != "proxy",
        (Resource::Workspaces, "files", ["list" | "archive"])
        | (Resource::Workspaces, "git", ["status" | "diff" | "stage" | "unstage" | "discard" | "commit"])
        | (Resource::Workspaces, "processes", ["system"] | [_, "restart"])
        | (Resource::Workspaces, "terminals", [_]) => true,
        _ => false,
    }
}

fn proxy(resource: Resource, rest: &str) -> Result<Operation, Problem> {
    match resource {
        Resource::DevServers => {
            let path = if rest.is_empty() { "/" } else { rest };
            Ok(Operation::Proxy { port: None, path: path.to_owned() })
        }
        Resource::Workspaces => {
            let rest = rest.strip_prefix('/').unwrap_or_default();
            let (port, path) = rest.find('/').map_or((rest, "/"), |slash| rest.split_at(slash));
            let port = port
                .parse()
                .ok()
                .filter(|port| *port > 0)
                .ok_or_else(|| Problem::bad_request(format!("{port:?} is no port, from 1 to 65535")))?;
            Ok(Operation::Proxy { port: Some(port), path: path.to_owned() })
        }
    }
}

fn command(name: &str) -> Result<Command, Problem> {
    let found = Command::ALL.into_iter().find(|command| command.word() == name);
    found.ok_or_else(|| Problem::not_found(format!("{name:?} is no command")))
}

fn process(segment: &str) -> Result<ProcessId, Problem> {
    segment
        .parse()
        .map_err(|error: berth_link::wire::process::InvalidProcessId| Problem::bad_request(error.to_string()))
}

/// A path segment without its percent-encoding. A `+` in a path is itself.
fn decoded(segment: &str) -> Result<String, Problem> {
    let query = format!("x={}", segment.replace('+', "%2B").replace('&', "%26"));
    let value = form_urlencoded::parse(query.as_bytes()).next().map(|(_, value)| value.into_owned());
    value
        .filter(|value| !value.contains('\u{fffd}'))
        .ok_or_else(|| Problem::bad_request("a segment of the path is no UTF-8"))
}

fn unknown_subresource(resource: Resource, name: &str) -> Problem {
    let known: Vec<_> = resource.subresources().iter().map(|one| one.name).collect();
    let shown: String = name.chars().take(64).collect();
    Problem::not_found(format!(
        "{} have no subresource {shown:?}; there are {}",
        resource.word(),
        known.join(", ")
    ))
}
