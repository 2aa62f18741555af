//! Making containers: from an OS template, or from the file system of another.

use std::collections::HashMap;

use bollard::{
    Docker,
    models::{ContainerConfig, ContainerCreateBody, ContainerInspectResponse, HostConfig},
    query_parameters::{
        CommitContainerOptionsBuilder, CreateContainerOptionsBuilder, InspectContainerOptions,
        ListImagesOptionsBuilder,
    },
};

use super::{
    archive::{self, Files},
    boot, cleanup, errors, labels,
};

/// What the init of a container needs beyond Docker's own list: to mount, to set up its network, to
/// switch itself off.
const CAPABILITIES: [&str; 3] = ["SYS_ADMIN", "NET_ADMIN", "SYS_BOOT"];

/// Files of an image that no container made of it has: Docker puts empty ones in their place.
const LAID_OVER: [&str; 3] = ["etc/resolv.conf", "etc/hostname", "etc/hosts"];

/// A container that does not run yet.
pub(super) struct Description<'a> {
    pub(super) cluster: &'a str,
    pub(super) vmid: u32,
    pub(super) image: String,
    /// The signal that asks its init to end; `None` for the image's own.
    pub(super) stop_signal: Option<String>,
}

/// Makes a container.
pub(super) async fn container(docker: &Docker, description: Description<'_>) -> Result<String, String> {
    let name = labels::container_name(description.cluster, description.vmid);
    let options = CreateContainerOptionsBuilder::new().name(&name).build();
    let body = ContainerCreateBody {
        image: Some(description.image),
        entrypoint: Some(vec!["/bin/sh".to_owned(), format!("/{}", boot::PATH)]),
        cmd: Some(Vec::new()),
        user: Some("0:0".to_owned()),
        working_dir: Some("/".to_owned()),
        env: Some(vec!["container=lxc".to_owned(), "TERM=linux".to_owned()]),
        labels: Some(labels::of_container(description.cluster, description.vmid)),
        stop_signal: description.stop_signal,
        host_config: Some(host_config()),
        ..ContainerCreateBody::default()
    };
    let made =
        docker.create_container(Some(options), body).await.map_err(errors::during("create container"))?;
    Ok(made.id)
}

fn host_config() -> HostConfig {
    let tmpfs = |path: &str, options: &str| (path.to_owned(), options.to_owned());
    HostConfig {
        cap_add: Some(CAPABILITIES.map(str::to_owned).to_vec()),
        cgroupns_mode: Some(bollard::models::HostConfigCgroupnsModeEnum::PRIVATE),
        tmpfs: Some(HashMap::from([
            tmpfs("/run", "rw,exec,nosuid,nodev,mode=755"),
            tmpfs("/run/lock", "rw,nosuid,nodev,noexec,mode=1777"),
        ])),
        // A hardware address that is not Docker's has to be told to the neighbours.
        sysctls: Some(HashMap::from([("net.ipv4.conf.all.arp_notify".to_owned(), "1".to_owned())])),
        ..HostConfig::default()
    }
}

/// Makes a container with the file system of a stopped one. Its machine-id is empty.
pub(super) async fn copy(docker: &Docker, cluster: &str, from: u32, to: u32) -> Result<(), String> {
    let source = inspect(docker, cluster, from).await?;
    if is_running(&source) {
        return Err(format!("CT {from} is running"));
    }
    let image = image_of(docker, cluster, &source).await?;
    let stop_signal = source.config.as_ref().and_then(|config| config.stop_signal.clone());
    let made = container(docker, Description { cluster, vmid: to, image, stop_signal }).await?;
    let finished = finish_copy(docker, source.id.as_deref().unwrap_or_default(), &made).await;
    if finished.is_err() {
        cleanup::remove_container(docker, &made).await?;
    }
    finished
}

/// Gives a copy what Docker lays empty files over, as Docker has it for the original, and takes the
/// machine-id out of it.
async fn finish_copy(docker: &Docker, source: &str, made: &str) -> Result<(), String> {
    let mut files = Files::default();
    for path in LAID_OVER {
        if let Some(found) = archive::read(docker, source, &format!("/{path}")).await? {
            files = files.file_of(found.group, path, 0o644, found.content);
        }
    }
    if archive::is_there(docker, made, "/etc/machine-id").await? {
        files = files.file("etc/machine-id", 0o444, "");
    }
    archive::write(docker, made, &files).await
}

/// The image of a stopped container's file system. One that was made since it ran last is still
/// right.
async fn image_of(
    docker: &Docker,
    cluster: &str,
    source: &ContainerInspectResponse,
) -> Result<String, String> {
    let id = source.id.as_deref().unwrap_or_default();
    let started = source.state.as_ref().and_then(|state| state.started_at.as_deref()).unwrap_or_default();
    let version = format!("{id}@{started}");
    let filter = format!("{}={version}", labels::COPY_OF);
    let filters = HashMap::from([("label".to_owned(), vec![filter])]);
    let options = ListImagesOptionsBuilder::new().all(true).filters(&filters).build();
    let found = docker.list_images(Some(options)).await.map_err(errors::during("list images"))?;
    if let Some(image) = found.into_iter().next() {
        return Ok(image.id);
    }
    let options = CommitContainerOptionsBuilder::new().container(id).pause(false).build();
    let config =
        ContainerConfig { labels: Some(labels::of_copy(cluster, &version)), ..ContainerConfig::default() };
    let made = docker.commit_container(options, config).await.map_err(errors::during("commit"))?;
    Ok(made.id)
}

/// What Docker knows of a container.
pub(super) async fn inspect(
    docker: &Docker,
    cluster: &str,
    vmid: u32,
) -> Result<ContainerInspectResponse, String> {
    let name = labels::container_name(cluster, vmid);
    docker
        .inspect_container(&name, None::<InspectContainerOptions>)
        .await
        .map_err(errors::during("inspect container"))
}

/// Whether a container runs.
pub(super) fn is_running(container: &ContainerInspectResponse) -> bool {
    container.state.as_ref().and_then(|state| state.running).unwrap_or(false)
}
