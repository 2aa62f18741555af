//! `berth`: the operator and its tools.

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand, ValueEnum};

/// Runs development workspaces on Docker and Proxmox VE hosts, declared as Kubernetes custom
/// resources.
#[derive(Parser)]
#[command(name = "berth", version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the operator until SIGTERM.
    Run {
        /// The configuration file; config/berth.yaml is the commented sample.
        #[arg(long, value_name = "FILE", env = "BERTH_CONFIG")]
        config: PathBuf,
        /// The part of the operator to run.
        #[arg(long, value_enum, default_value = "all")]
        role: Role,
    },
    /// Print the CustomResourceDefinitions, for kubectl apply.
    Crds {
        /// Write one file for each into this folder instead.
        #[arg(long, value_name = "FOLDER")]
        output: Option<PathBuf>,
    },
    /// Write the reference pages of the custom resources into a folder.
    #[command(hide = true)]
    Reference {
        /// The folder.
        #[arg(long, value_name = "FOLDER")]
        output: PathBuf,
    },
    /// Look at a configuration file.
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Look at a backend.
    Backend {
        #[command(subcommand)]
        command: BackendCommand,
    },
    /// Print the version.
    Version,
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Check a file without connecting to anything.
    Check {
        /// The file.
        file: PathBuf,
    },
}

#[derive(Subcommand)]
enum BackendCommand {
    /// Connect to every host of a backend and say what was found, and how to mend what is missing.
    Check {
        /// Name of the backend in the configuration.
        name: String,
        /// The configuration file.
        #[arg(long, value_name = "FILE", env = "BERTH_CONFIG", default_value = "/etc/berth/berth.yaml")]
        config: PathBuf,
        /// A template of a Proxmox VE cluster that has to be usable, by its VMID. May be given
        /// several times.
        #[arg(long = "template", value_name = "VMID")]
        templates: Vec<u32>,
    },
}

/// The parts of the operator.
#[derive(Clone, Copy, ValueEnum)]
enum Role {
    /// Everything in one process.
    All,
    /// The controllers alone, with the backends' credentials; nothing of it is public.
    Controller,
    /// The gateway alone: the way into workspaces.
    Gateway,
}

fn main() -> ExitCode {
    match act(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("berth: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn act(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Run { config, role } => {
            let config = berth::config::Config::load(&config)?;
            berth::telemetry::init(&config.log)?;
            let role = match role {
                Role::All => berth::operator::Role::All,
                Role::Controller => berth::operator::Role::Controller,
                Role::Gateway => berth::operator::Role::Gateway,
            };
            runtime()?.block_on(berth::operator::run(config, role))
        }
        Command::Crds { output } => berth::api::crd::print(output.as_deref()),
        Command::Reference { output } => {
            berth::api::reference::write(&output)?;
            Ok(std::fs::write(output.join("kubectl-berth.md"), berth::plugin::reference::page())?)
        }
        Command::Config { command: ConfigCommand::Check { file } } => {
            let config = berth::config::Config::load(&file)?;
            println!("{} is fine: {}", file.display(), config.summary());
            Ok(())
        }
        Command::Backend { command: BackendCommand::Check { name, config, templates } } => {
            let config = berth::config::Config::load(&config)?;
            runtime()?.block_on(berth::operator::check_backend(&config, &name, &templates))
        }
        Command::Version => {
            println!("berth {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}
