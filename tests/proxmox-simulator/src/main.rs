//! The program: what the first argument says, or `pct` where it is called by that name.

mod serve;

use std::process::ExitCode;

use berth_proxmox_simulator::{containers::docker, node_ssh::pct};
use bollard::Docker;
use clap::{Parser, Subcommand};

/// A Proxmox VE cluster to test against.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs a simulated cluster until it is interrupted.
    Serve(Box<serve::Arguments>),
    /// Removes what simulators have left in Docker: containers, networks and images.
    Cleanup {
        /// Only that of this cluster.
        #[arg(long)]
        cluster: Option<String>,
    },
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    if let Some((program, arguments)) = words.split_first()
        && pct::is_called(Some(program))
    {
        return pct::run(arguments);
    }
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(words) => {
            eprintln!("error: {words}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(arguments: Arguments) -> Result<(), String> {
    match arguments.command {
        Command::Serve(arguments) => serve::run(*arguments).await.map_err(|error| format!("{error:#}")),
        Command::Cleanup { cluster } => {
            let docker = Docker::connect_with_defaults().map_err(|error| format!("docker: {error}"))?;
            docker::cleanup(&docker, cluster.as_deref()).await
        }
    }
}
