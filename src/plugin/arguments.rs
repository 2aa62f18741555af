//! The command line of `kubectl berth`.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use super::{copy::Place, port_forward::PortPair};

/// Work in Berth's development workspaces, with nothing but a kubeconfig.
///
/// Exit codes: 0 it went well; 1 it failed; 2 the command line is wrong; 3 not ready, or not
/// within the time; 4 not found; 5 not allowed. exec and shell end with the exit code of what
/// they ran.
#[derive(Debug, Parser)]
#[command(
    name = "kubectl-berth",
    bin_name = "kubectl berth",
    version,
    about,
    long_about,
    propagate_version = false
)]
pub struct Arguments {
    /// Which cluster, and as whom.
    #[command(flatten)]
    pub access: Access,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Which cluster, and as whom: as kubectl has it.
#[derive(Args, Clone, Debug, Default)]
pub struct Access {
    /// The kubeconfig file. Default: $KUBECONFIG, else ~/.kube/config, else the Pod's own.
    #[arg(long, global = true, value_name = "FILE", help_heading = "Access")]
    pub kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig.
    #[arg(long, global = true, value_name = "NAME", help_heading = "Access")]
    pub context: Option<String>,
    /// The cluster of the kubeconfig.
    #[arg(long, global = true, value_name = "NAME", help_heading = "Access")]
    pub cluster: Option<String>,
    /// The user of the kubeconfig.
    #[arg(long, global = true, value_name = "NAME", help_heading = "Access")]
    pub user: Option<String>,
    /// The namespace. Default: that of the context.
    #[arg(long, short, global = true, value_name = "NAME", help_heading = "Access")]
    pub namespace: Option<String>,
    /// The address of the API server.
    #[arg(long, short, global = true, value_name = "URL", help_heading = "Access")]
    pub server: Option<String>,
    /// A bearer token, instead of the kubeconfig's credentials.
    #[arg(long, global = true, value_name = "TOKEN", help_heading = "Access", hide_env_values = true)]
    pub token: Option<String>,
    /// The user to act as.
    #[arg(long = "as", global = true, value_name = "USER", help_heading = "Access")]
    pub impersonate: Option<String>,
    /// A group to act as; may be given several times.
    #[arg(long = "as-group", global = true, value_name = "GROUP", help_heading = "Access")]
    pub impersonate_groups: Vec<String>,
    /// Trust any certificate of the API server.
    #[arg(long, global = true, help_heading = "Access")]
    pub insecure_skip_tls_verify: bool,
    /// Longest time for one request that does not stream, such as 10s. Default: 60s; 0 is no
    /// limit.
    #[arg(long, global = true, value_name = "TIME", value_parser = duration, help_heading = "Access")]
    pub request_timeout: Option<Duration>,
}

/// How an answer is printed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Open a terminal in a workspace. It stays when the connection breaks, and is joined again.
    Shell(Shelling),
    /// Run a command in a workspace; its exit code is ours.
    Exec(Execution),
    /// Print the output of a dev server, or what a workspace's container itself printed.
    Logs(Logs),
    /// List the processes in a workspace.
    Ps {
        /// The workspace.
        workspace: String,
        /// How the list is printed.
        #[arg(long, short, value_enum, default_value_t)]
        output: Output,
    },
    /// Open a dev server's preview, or a workspace's terminal, in the browser.
    Open(Open),
    /// Listen on ports of this machine and pass connections on to ports of a workspace.
    PortForward {
        /// The workspace.
        workspace: String,
        /// PORT or LOCAL:REMOTE; LOCAL 0 or blank (:REMOTE) is any free port.
        #[arg(required = true, value_name = "[LOCAL:]REMOTE")]
        ports: Vec<PortPair>,
        /// The address of this machine to listen on.
        #[arg(long, default_value = "127.0.0.1")]
        address: std::net::IpAddr,
    },
    /// Copy files and folders between this machine and a workspace.
    Cp {
        /// From where: PATH or WORKSPACE:PATH.
        from: Place,
        /// To where: PATH or WORKSPACE:PATH.
        to: Place,
    },
    /// Look at or change the repository of a workspace.
    Git {
        /// The workspace.
        workspace: String,
        /// What to do.
        #[command(subcommand)]
        command: Git,
    },
    /// Stop a workspace's container and keep its files.
    Suspend {
        /// The workspace.
        workspace: String,
    },
    /// Start a suspended workspace again.
    Resume {
        /// The workspace.
        workspace: String,
    },
    /// Stop a workspace's container and start it again, or a dev server's process.
    Restart {
        /// WORKSPACE or dev/NAME.
        target: Target,
    },
    /// Trust whatever SSH host key a workspace's container shows next, after it was renewed on
    /// purpose. On Proxmox VE only.
    ResetHostKey {
        /// The workspace.
        workspace: String,
    },
    /// Say what is wrong with a workspace or a dev server, since when, and what to do. Without a
    /// name: with every one in the namespace.
    Why {
        /// WORKSPACE or dev/NAME.
        target: Option<Target>,
        /// How the answer is printed.
        #[arg(long, short, value_enum, default_value_t)]
        output: Output,
    },
    /// Wait until a workspace is ready or suspended.
    Wait {
        /// The workspace.
        workspace: String,
        /// What to wait for.
        #[arg(long = "for", value_enum, default_value_t)]
        goal: Goal,
        /// Longest time, such as 90s or 15m.
        #[arg(long, value_parser = duration, default_value = "15m", value_name = "TIME")]
        timeout: Duration,
        /// How the workspace is printed in the end.
        #[arg(long, short, value_enum, default_value_t)]
        output: Output,
    },
    /// Print a completion script for a shell.
    Completion {
        /// The shell.
        shell: Shell,
    },
    /// Print the version.
    Version,
}

/// How a terminal is opened.
#[derive(Args, Debug)]
pub struct Shelling {
    /// The workspace.
    pub workspace: String,
    /// The terminal's name: it is made when there is none of it.
    #[arg(long, default_value = "main", value_name = "NAME")]
    pub terminal: String,
    /// A shell of its own, which ends with this command.
    #[arg(long, conflicts_with = "terminal")]
    pub new: bool,
}

/// How a command is run.
#[derive(Args, Debug)]
pub struct Execution {
    /// The workspace.
    pub workspace: String,
    /// Pass standard input on.
    #[arg(long, short = 'i')]
    pub stdin: bool,
    /// On a terminal.
    #[arg(long, short = 't')]
    pub tty: bool,
    /// Folder to start in, absolute or below /workspace.
    #[arg(long, value_name = "FOLDER")]
    pub cwd: Option<String>,
    /// An environment variable; may be given several times.
    #[arg(long, short = 'e', value_name = "NAME=VALUE", value_parser = variable)]
    pub env: Vec<(String, String)>,
    /// The command is killed after this time, such as 30s. Default: never; with -o json 30s.
    #[arg(long, value_parser = duration, value_name = "TIME")]
    pub timeout: Option<Duration>,
    /// `json`: wait for the command, and print its exit code and the end of its output as JSON.
    #[arg(long, short, value_enum, default_value_t, conflicts_with = "tty")]
    pub output: Output,
    /// The command and its arguments, after --.
    #[arg(last = true, required = true)]
    pub command: Vec<String>,
}

/// Which output is printed.
#[derive(Args, Debug)]
pub struct Logs {
    /// A dev server, else a workspace of this name; dev/NAME and ws/NAME say which.
    #[arg(value_name = "NAME")]
    pub source: LogSource,
    /// Go on with new lines as they come. A workspace's log ends with its container.
    #[arg(long, short)]
    pub follow: bool,
    /// So many lines from the end.
    #[arg(long, default_value_t = 200, value_name = "LINES", value_parser = clap::value_parser!(u64).range(1..=2000))]
    pub tail: u64,
    /// Only what was printed within this time, such as 10m. For a workspace's own log.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub since: Option<Duration>,
    /// Put the time before each line, and a dev server's stream.
    #[arg(long)]
    pub timestamps: bool,
}

/// What is opened.
#[derive(Args, Debug)]
pub struct Open {
    /// The dev server.
    #[arg(value_name = "DEVSERVER", required_unless_present = "terminal", conflicts_with = "terminal")]
    pub dev_server: Option<DevServerName>,
    /// A terminal of this workspace. The address that is printed can be used once.
    #[arg(long, value_name = "WORKSPACE")]
    pub terminal: Option<String>,
    /// Only print the address.
    #[arg(long)]
    pub print: bool,
}

/// What is done with a repository.
#[derive(Debug, Subcommand)]
pub enum Git {
    /// Print how it stands.
    Status {
        /// How it is printed.
        #[arg(long, short, value_enum, default_value_t)]
        output: Output,
    },
    /// Print what changed.
    Diff {
        /// What is staged, against the last commit.
        #[arg(long)]
        staged: bool,
        /// Only this path.
        path: Option<String>,
    },
    /// Stage changes; without paths, all.
    Stage {
        /// Paths below the repository.
        paths: Vec<String>,
    },
    /// Take changes off the stage; without paths, all.
    Unstage {
        /// Paths below the repository.
        paths: Vec<String>,
    },
    /// Throw changes away. What was not committed is lost.
    Discard {
        /// Paths below the repository.
        #[arg(required_unless_present = "all")]
        paths: Vec<String>,
        /// All changes.
        #[arg(long, conflicts_with = "paths")]
        all: bool,
    },
    /// Commit what is staged.
    Commit {
        /// The message.
        #[arg(long, short)]
        message: String,
    },
}

/// What is waited for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub enum Goal {
    /// It can be used.
    #[default]
    Ready,
    /// Its container is stopped.
    Suspended,
}

/// A dev server by name, with or without `dev/` before it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DevServerName(pub String);

impl std::str::FromStr for DevServerName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse()? {
            Target::Workspace(name) | Target::DevServer(name) => Ok(Self(name)),
        }
    }
}

/// Whose output is wanted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum LogSource {
    /// `NAME`: a dev server, else a workspace.
    Named(String),
    /// `dev/NAME` or `ws/NAME`.
    Said(Target),
}

impl std::str::FromStr for LogSource {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let target = text.parse()?;
        Ok(match target {
            Target::Workspace(name) if !text.contains('/') => Self::Named(name),
            target => Self::Said(target),
        })
    }
}

/// A workspace or a dev server by name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Target {
    /// `NAME`, `ws/NAME` or `workspace/NAME`.
    Workspace(String),
    /// `dev/NAME` or `devserver/NAME`.
    DevServer(String),
}

impl std::str::FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, name) = text.split_once('/').unwrap_or(("ws", text));
        if name.is_empty() || name.contains('/') {
            return Err("give NAME or dev/NAME".to_owned());
        }
        match kind {
            "ws" | "workspace" | "workspaces" => Ok(Self::Workspace(name.to_owned())),
            "dev" | "devserver" | "devservers" => Ok(Self::DevServer(name.to_owned())),
            other => Err(format!("{other:?} is no kind of Berth's; give WORKSPACE or dev/NAME")),
        }
    }
}

/// A duration as kubectl and Go write it; a bare number is seconds.
fn duration(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse() {
        return Ok(Duration::from_secs(seconds));
    }
    humantime::parse_duration(text).map_err(|error| error.to_string())
}

fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("give NAME=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use rstest::rstest;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[rstest]
    #[case("a", LogSource::Named("a".to_owned()))]
    #[case("ws/a", LogSource::Said(Target::Workspace("a".to_owned())))]
    #[case("dev/a", LogSource::Said(Target::DevServer("a".to_owned())))]
    fn sources_of_logs_are_named(#[case] text: &str, #[case] expected: LogSource) {
        assert_eq!(text.parse(), Ok(expected));
    }

    #[rstest]
    #[case("a", Ok(Target::Workspace("a".to_owned())))]
    #[case("ws/a", Ok(Target::Workspace("a".to_owned())))]
    #[case("dev/a", Ok(Target::DevServer("a".to_owned())))]
    #[case("pod/a", Err(()))]
    #[case("dev/", Err(()))]
    #[case("dev/a/b", Err(()))]
    fn targets_are_named(#[case] text: &str, #[case] expected: Result<Target, ()>) {
        assert_eq!(text.parse().map_err(|_: String| ()), expected);
    }

    #[rstest]
    #[case(&["exec", "a", "-it", "-e", "A=B=C", "-n", "x", "--", "ls", "-n"])]
    #[case(&["--context", "c", "shell", "a"])]
    #[case(&["open", "--terminal", "a", "--print"])]
    #[case(&["open", "web", "--print"])]
    #[case(&["git", "a", "discard", "--all"])]
    #[case(&["port-forward", "a", "8080:80", "3000"])]
    #[case(&["wait", "a", "--for", "suspended", "--timeout", "5m"])]
    fn good_lines_are_taken(#[case] line: &[&str]) {
        assert!(Arguments::try_parse_from(["kubectl-berth"].iter().chain(line)).is_ok());
    }

    #[rstest]
    #[case(&["exec", "a"])]
    #[case(&["exec", "a", "-e", "=x", "--", "ls"])]
    #[case(&["open"])]
    #[case(&["open", "web", "--terminal", "a"])]
    #[case(&["git", "a", "discard"])]
    #[case(&["shell", "a", "--new", "--terminal", "b"])]
    #[case(&["logs", "a", "--tail", "2001"])]
    #[case(&["port-forward", "a", "0"])]
    fn other_lines_are_refused(#[case] line: &[&str]) {
        assert!(Arguments::try_parse_from(["kubectl-berth"].iter().chain(line)).is_err());
    }
}
