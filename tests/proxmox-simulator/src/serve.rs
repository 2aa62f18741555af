//! `proxmox-simulator serve`: what its flags say, and the line that it starts with.

mod nodes;

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use anyhow::Context as _;
use berth_proxmox_simulator::{
    Options, Simulator,
    clock::Clock,
    containers::{Containers, docker, docker::DockerContainers, memory::MemoryContainers},
    settings::Settings,
};
use bollard::Docker;
use clap::{Args, ValueEnum};

/// What is behind the API.
#[derive(Clone, Copy, ValueEnum)]
enum Behind {
    /// Containers that are only remembered.
    Memory,
    /// Containers in the Docker of this machine.
    Docker,
}

/// The flags of `serve`.
#[derive(Args)]
pub struct Arguments {
    /// Where the API listens (HTTPS).
    #[arg(long, default_value = "127.0.0.1:8006")]
    listen: SocketAddr,
    /// Where faults are planned (HTTP, nobody is asked who they are).
    #[arg(long, default_value = "127.0.0.1:8007")]
    control: SocketAddr,
    /// The cluster, as YAML; two nodes pve1 and pve2 without.
    #[arg(long)]
    config: Option<PathBuf>,
    /// Multiplies how long work takes.
    #[arg(long, default_value_t = 1.0)]
    time_scale: f64,
    /// Multiplies how long one waits for locks and shutdowns; the time scale unless it is given. With
    /// real containers it should stay near 1.
    #[arg(long)]
    patience_scale: Option<f64>,
    /// What is behind the API.
    #[arg(long, value_enum, default_value = "memory")]
    containers: Behind,
    /// The name that this cluster's containers have in Docker.
    #[arg(long, default_value = "default")]
    cluster: String,
    /// An OS template and its image: START=IMAGE, by the start of the template's file name.
    #[arg(long = "template", value_name = "START=IMAGE")]
    templates: Vec<String>,
    /// The password of root@pam, unless the file has one.
    #[arg(long, default_value = "simulator", env = "PROXMOX_SIMULATOR_ROOT_PASSWORD")]
    root_password: String,
    /// A token: USER@REALM!NAME=SECRET. It gets the role, as does its user.
    #[arg(long, env = "PROXMOX_SIMULATOR_TOKEN")]
    token: Option<String>,
    /// The role of the token.
    #[arg(long, default_value = "PVEAdmin")]
    role: String,
    /// The path that the role is for, with everything below.
    #[arg(long, default_value = "/")]
    path: String,
    /// The certificate is written to this file.
    #[arg(long)]
    certificate: Option<PathBuf>,
    /// Names and addresses in the certificate.
    #[arg(long = "name", default_values_t = ["localhost".to_owned(), "127.0.0.1".to_owned()])]
    names: Vec<String>,
    #[command(flatten)]
    nodes: nodes::Flags,
}

/// Runs a cluster until it is interrupted.
///
/// # Errors
///
/// Why it can not start.
pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let settings = settings(&arguments)?;
    let work = arguments.time_scale;
    let patience = arguments.patience_scale.unwrap_or(work);
    let valid = |scale: f64| scale.is_finite() && scale >= 0.0;
    anyhow::ensure!(valid(work) && valid(patience), "a scale is a number from 0 on");
    let containers: Arc<dyn Containers> = match arguments.containers {
        Behind::Memory => Arc::new(MemoryContainers::default()),
        Behind::Docker => Arc::new(docker_containers(&arguments)?),
    };
    let options = Options {
        settings,
        clock: Clock { work, patience },
        listen: arguments.listen,
        control: arguments.control,
        names: arguments.names,
    };
    let simulator = Simulator::start(options, containers).await?;
    let nodes = nodes::start(&arguments.nodes, &simulator.cluster).await?;
    if let Some(file) = &arguments.certificate {
        let written = tokio::fs::write(file, &simulator.certificate.pem).await;
        written.with_context(|| format!("{}", file.display()))?;
    }
    println!(
        "ready: API https://{} control http://{} fingerprint {}{}",
        simulator.address,
        simulator.control,
        simulator.certificate.fingerprint,
        nodes.words()
    );
    let mut terminated = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        _ = terminated.recv() => {}
    }
    Ok(())
}

fn settings(arguments: &Arguments) -> anyhow::Result<Settings> {
    let mut settings = match &arguments.config {
        None => Settings::two_nodes(&arguments.root_password),
        Some(file) => {
            let text = std::fs::read_to_string(file).with_context(|| format!("{}", file.display()))?;
            serde_yaml::from_str(&text).with_context(|| format!("{}", file.display()))?
        }
    };
    anyhow::ensure!(!settings.nodes.is_empty(), "a cluster has at least one node");
    let root = settings.users.entry("root@pam".into()).or_default();
    root.password.get_or_insert_with(|| arguments.root_password.clone());
    if let Some(token) = &arguments.token {
        let parts = token.split_once('!').and_then(|(user, rest)| Some((user, rest.split_once('=')?)));
        let (user, (name, secret)) = parts.context("--token is USER@REALM!NAME=SECRET")?;
        settings.add_token(user, name, secret, &arguments.role, &arguments.path);
    }
    for acl in &settings.acls {
        let known = settings.roles.contains_key(&acl.role)
            || berth_proxmox_simulator::access::roles::built_in().contains_key(&acl.role);
        anyhow::ensure!(known, "there is no role {}", acl.role);
    }
    Ok(settings)
}

fn docker_containers(arguments: &Arguments) -> anyhow::Result<DockerContainers> {
    let mut templates = std::collections::BTreeMap::new();
    for template in &arguments.templates {
        let (start, image) = template.split_once('=').context("--template is START=IMAGE")?;
        templates.insert(start.to_owned(), image.to_owned());
    }
    anyhow::ensure!(!templates.is_empty(), "--containers docker needs at least one --template");
    let settings = docker::Settings {
        cluster: arguments.cluster.clone(),
        templates,
        bridges: std::collections::BTreeMap::new(),
    };
    Ok(DockerContainers::new(Docker::connect_with_defaults()?, settings))
}
