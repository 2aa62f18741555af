//! Booting and ending.

use std::time::Duration;

use bollard::{
    Docker,
    models::ContainerUpdateBody,
    query_parameters::{KillContainerOptionsBuilder, StartContainerOptions, WaitContainerOptionsBuilder},
};
use futures::StreamExt as _;
use tokio::time::timeout;

use super::{
    archive::{self, Files},
    boot, errors, exec, labels, make, network,
};
use crate::containers::{Boot, Nic};

/// After a kill, a container that is still there is stuck in the kernel.
const DEATH: Duration = Duration::from_secs(30);
/// What happens before the init takes no longer.
const BOOT: Duration = Duration::from_secs(30);
const MIB: u64 = 1 << 20;
/// What LXC sends to an init that has said nothing else.
const STOP_SIGNAL: &str = "SIGPWR";

/// Boots a container whose bridges are there. It has its files and addresses when this returns.
pub(super) async fn start(
    docker: &Docker,
    cluster: &str,
    vmid: u32,
    boot: &Boot,
    cards: &[(&Nic, boot::Bridge)],
) -> Result<(), String> {
    let container = make::inspect(docker, cluster, vmid).await?;
    if make::is_running(&container) {
        return Err(format!("CT {vmid} already running"));
    }
    let name = labels::container_name(cluster, vmid);
    let networks = container.network_settings.and_then(|settings| settings.networks).unwrap_or_default();
    network::disconnect(docker, &name, &networks).await?;
    for (nic, bridge) in cards {
        network::connect(docker, cluster, &name, nic, *bridge).await?;
    }
    limit(docker, &name, boot).await?;
    let script = Files::default().file(boot::PATH, 0o700, boot::script(boot, cards));
    archive::write(docker, &name, &script).await?;
    docker.start_container(&name, None::<StartContainerOptions>).await.map_err(errors::during("start"))?;
    match timeout(BOOT, has_started(docker, cluster, vmid)).await {
        Ok(Ok(true)) => Ok(()),
        Ok(Err(error)) => Err(error),
        Ok(Ok(false)) | Err(_) => Err(format!("startup for container '{vmid}' failed")),
    }
}

/// Waits until the script before the init has done its work. False when the container ended. (Asking
/// for the file from outside would make Docker mount its own versions of what the script writes.)
async fn has_started(docker: &Docker, cluster: &str, vmid: u32) -> Result<bool, String> {
    let wait = format!("while [ -e /{} ]; do sleep 0.05; done", boot::PATH);
    let argv = ["sh".to_owned(), "-c".to_owned(), wait];
    match exec::collect(docker, cluster, vmid, &argv, &[]).await {
        Ok(output) => Ok(output.code == 0),
        Err(error) => match make::is_running(&make::inspect(docker, cluster, vmid).await?) {
            true => Err(error),
            false => Ok(false),
        },
    }
}

/// Memory has no swap beside it. More processors than there are is all of them.
async fn limit(docker: &Docker, name: &str, boot: &Boot) -> Result<(), String> {
    let info = docker.info().await.map_err(errors::during("info"))?;
    let there = info.ncpu.unwrap_or(1);
    let cores = boot.cores.map_or(there, |cores| i64::from(cores).min(there));
    let memory = i64::try_from(boot.memory_mib.saturating_mul(MIB)).unwrap_or(i64::MAX);
    let update = ContainerUpdateBody {
        memory: Some(memory),
        memory_swap: Some(memory),
        nano_cpus: Some(cores.saturating_mul(1_000_000_000)),
        ..ContainerUpdateBody::default()
    };
    docker.update_container(name, update).await.map_err(errors::during("limit"))
}

/// Asks the init to end. True when it did within the time.
pub(super) async fn shutdown(
    docker: &Docker,
    cluster: &str,
    vmid: u32,
    limit: Duration,
) -> Result<bool, String> {
    let container = make::inspect(docker, cluster, vmid).await?;
    let signal = container.config.and_then(|config| config.stop_signal);
    let name = labels::container_name(cluster, vmid);
    send(docker, &name, signal.as_deref().unwrap_or(STOP_SIGNAL)).await?;
    has_ended(docker, &name, limit).await
}

/// Ends a container at once.
pub(super) async fn kill(docker: &Docker, cluster: &str, vmid: u32) -> Result<(), String> {
    let name = labels::container_name(cluster, vmid);
    send(docker, &name, "SIGKILL").await?;
    match has_ended(docker, &name, DEATH).await? {
        true => Ok(()),
        false => Err("container did not stop".to_owned()),
    }
}

/// One that has ended needs no signal.
async fn send(docker: &Docker, name: &str, signal: &str) -> Result<(), String> {
    let options = KillContainerOptionsBuilder::new().signal(signal).build();
    let sent = docker.kill_container(name, Some(options)).await;
    errors::unless(errors::is_conflict, sent).map_err(errors::during("signal"))
}

async fn has_ended(docker: &Docker, name: &str, limit: Duration) -> Result<bool, String> {
    let options = WaitContainerOptionsBuilder::new().condition("not-running").build();
    let mut end = Box::pin(docker.wait_container(name, Some(options)));
    match timeout(limit, end.next()).await {
        Err(_) => Ok(false),
        // An exit code that is not 0 comes as an error.
        Ok(Some(Ok(_) | Err(bollard::errors::Error::DockerContainerWaitError { .. }))) => Ok(true),
        Ok(Some(Err(error))) => Err(errors::during("wait")(error)),
        Ok(None) => Err("docker: wait: no answer".to_owned()),
    }
}
