//! `berth-agent`: what runs inside a workspace.

use std::process::ExitCode;

use berth_agent::{
    config::{self, Settings},
    init, link, supervisor,
    users::User,
};
use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

/// Runs inside a Berth workspace: starts and supervises its processes, and keeps the link to the
/// gateway.
#[derive(Parser)]
#[command(name = "berth-agent", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Be the first process of a container, or a service in one that has an init of its own.
    Init,
    /// Own the supervised processes and the terminals.
    #[command(hide = true)]
    Supervise,
    /// Keep the link to the gateway.
    #[command(hide = true)]
    Link,
    /// Say how the link is doing, as JSON.
    Status,
}

fn main() -> ExitCode {
    match act(Arguments::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("berth-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn act(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Init => init::run()?,
        Command::Supervise => {
            let user = become_user()?;
            runtime()?.block_on(supervisor::run(&user))?;
        }
        Command::Link => {
            become_user()?;
            // Two links would take the workspace from each other. After a change of user, which
            // undoes this.
            nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGTERM)?;
            let end = runtime()?.block_on(link::run())?;
            if end == link::End::Gone {
                return Ok(ExitCode::from(u8::try_from(init::EXIT_GONE)?));
            }
        }
        Command::Status => match link::LinkStatus::load() {
            Some(status) => println!("{}", serde_json::to_string(&status)?),
            None => anyhow::bail!("the link has not said anything yet"),
        },
    }
    Ok(ExitCode::SUCCESS)
}

/// Gives up root for the workspace's user, and takes up that user's surroundings.
fn become_user() -> anyhow::Result<User> {
    // The init waits for signals with all of them blocked, and its children inherit that.
    nix::sys::signal::SigSet::all().thread_unblock()?;
    let settings = Settings::load()?.ok_or_else(|| anyhow::anyhow!("{} is missing", config::SETTINGS))?;
    let user = User::find(&settings.user)?;
    user.become_it()?;
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new("info"))
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    Ok(user)
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()
}
