//! `kubectl berth`: workspaces from the command line.
//!
//! It runs on people's machines with nothing but their kubeconfig, and asks the API server alone:
//! our objects, and their subresources. A command is a file; [`arguments`] is the command line,
//! [`exit`] what a command's end means, [`client`] and [`channels`] the way to the cluster,
//! [`local`] the terminal of this machine, [`table`] what people see. What is shown is computed by
//! pure functions from what the cluster answered. Nothing of the operator or the gateway lives
//! here, and neither needs anything of this.

// They panic where nobody reads the output; `local` does not.
#![deny(clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

pub mod arguments;
mod channels;
mod client;
mod copy;
mod ending;
mod exec;
mod exit;
mod git;
mod lifecycle;
mod local;
mod logs;
mod open;
mod port_forward;
mod processes;
pub mod reference;
mod shell;
mod table;
mod wait;
mod why;

use crate::api::OperatingMode;
use arguments::{Arguments, Command};
use client::Cluster;
use exit::{Failure, Kind};

/// Does what the command line asks for.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return ended(Err(error.into())),
    };
    let result = runtime.block_on(act(&arguments));
    runtime.shutdown_background();
    ended(result)
}

fn ended(result: Result<u8, Failure>) -> ExitCode {
    match result {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            if failure.kind != Kind::Closed {
                local::note(&failure.text());
            }
            ExitCode::from(failure.kind.code())
        }
    }
}

async fn act(arguments: &Arguments) -> Result<u8, Failure> {
    match &arguments.command {
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Arguments::command(), "kubectl-berth", &mut script);
            local::print(&script)?;
            return Ok(0);
        }
        Command::Version => {
            local::line(&format!("kubectl-berth {}", env!("CARGO_PKG_VERSION")))?;
            return Ok(0);
        }
        _ => {}
    }
    let cluster = &Cluster::find(&arguments.access).await?;
    match &arguments.command {
        Command::Shell(wanted) => shell::run(cluster, wanted).await,
        Command::Exec(wanted) => exec::run(cluster, wanted).await,
        Command::Logs(wanted) => logs::run(cluster, wanted).await,
        Command::Ps { workspace, output } => processes::run(cluster, workspace, *output).await,
        Command::Open(wanted) => open::run(cluster, wanted).await,
        Command::PortForward { workspace, ports, address } => {
            port_forward::run(cluster, workspace, *address, ports).await
        }
        Command::Cp { from, to } => copy::run(cluster, from, to).await,
        Command::Git { workspace, command } => git::run(cluster, workspace, command).await,
        Command::Suspend { workspace } => {
            lifecycle::set_mode(cluster, workspace, OperatingMode::Suspended).await
        }
        Command::Resume { workspace } => {
            lifecycle::set_mode(cluster, workspace, OperatingMode::Running).await
        }
        Command::Restart { target } => lifecycle::restart(cluster, target).await,
        Command::ResetHostKey { workspace } => lifecycle::reset_host_key(cluster, workspace).await,
        Command::Why { target, output } => why::run(cluster, target.as_ref(), *output).await,
        Command::Wait { workspace, goal, timeout, output } => {
            wait::run(cluster, workspace, *goal, *timeout, *output).await
        }
        Command::Completion { .. } | Command::Version => Ok(0),
    }
}
