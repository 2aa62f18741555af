//! The agent's program in containers: a read-only volume, made once for each host and version.
//! A container that was made with an older version gets the present one put beside it.

use std::collections::HashMap;

use bollard::{
    models::{ContainerCreateBody, HostConfig, Mount, MountType, VolumeCreateRequest},
    query_parameters::{
        CreateContainerOptionsBuilder, ListContainersOptionsBuilder, RemoveContainerOptionsBuilder,
        UploadToContainerOptionsBuilder,
    },
};
use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::{
    containers, errors,
    host::{CHANGE, Host, LOOK},
    labels::{self, Labels},
};
use crate::backend::{
    AgentBinary, AgentProgram, BackendError, ContainerRef, agent::PROGRAM, identity::LABEL_INSTANCE,
};

/// Where the volume is mounted; the program is in it.
const FOLDER: &str = "/opt/berth";
/// Folder of root's for versions that came after the container was made.
const UPDATES: &str = "/var/lib/berth/agent";
const NAME: &str = "berth-agent";
/// Label of what belongs to the agent's delivery and to no workspace; its value is the version.
const LABEL: &str = "berth.dev/agent";

/// Name of the volume with a version of the program. Two operators on one host have their own.
fn volume_name(host: &Host, agent: &AgentBinary) -> String {
    let instance = hex::encode(Sha256::digest(host.instance.0.as_bytes()));
    format!("{NAME}-{}-{}", instance.get(..8).unwrap_or_default(), agent.digest)
}

fn labels_of(host: &Host, agent: &AgentBinary) -> Labels {
    HashMap::from([
        (LABEL_INSTANCE.to_owned(), host.instance.to_string()),
        (LABEL.to_owned(), agent.digest.clone()),
    ])
}

fn mount(host: &Host, agent: &AgentBinary, read_only: bool) -> Mount {
    Mount {
        typ: Some(MountType::VOLUME),
        source: Some(volume_name(host, agent)),
        target: Some(FOLDER.to_owned()),
        read_only: Some(read_only),
        ..Mount::default()
    }
}

/// The mount for a container that is to be made from this image; the volume is filled by now.
pub(super) async fn provide(host: &Host, image: &str) -> Result<Option<Mount>, BackendError> {
    let Some(agent) = &host.agent else { return Ok(None) };
    host.agent_installed.get_or_try_init(|| install(host, agent, image)).await?;
    Ok(Some(mount(host, agent, true)))
}

/// Fills the volume, by way of a container that is never started. Any image will do.
async fn install(host: &Host, agent: &AgentBinary, image: &str) -> Result<(), BackendError> {
    remove_installers(host).await?;
    let volume = VolumeCreateRequest {
        name: Some(volume_name(host, agent)),
        labels: Some(labels_of(host, agent)),
        ..VolumeCreateRequest::default()
    };
    host.call("create volume", CHANGE, host.docker.create_volume(volume)).await?;
    let name = format!("{NAME}-installer-{}", hex::encode(rand::random::<[u8; 4]>()));
    let description = ContainerCreateBody {
        image: Some(image.to_owned()),
        entrypoint: Some(vec!["/nothing".to_owned()]),
        labels: Some(labels_of(host, agent)),
        host_config: Some(HostConfig {
            mounts: Some(vec![mount(host, agent, false)]),
            network_mode: Some("none".to_owned()),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    };
    let options = CreateContainerOptionsBuilder::new().name(&name).build();
    let creation = host.docker.create_container(Some(options), description);
    let installer = host.call("create container", CHANGE, creation).await?.id;
    let filled = upload(host, &installer, FOLDER, agent).await;
    remove_installers(host).await?;
    filled?;
    tracing::info!(host = host.name, version = agent.digest, "the agent's program is on the host");
    Ok(())
}

/// Puts the program into a folder of a container, running or not. The folder must be there.
async fn upload(host: &Host, container: &str, folder: &str, agent: &AgentBinary) -> Result<(), BackendError> {
    let archive =
        pack(agent).map_err(|error| errors::from_docker(&host.name, "deliver the agent", &error.into()))?;
    let options = UploadToContainerOptionsBuilder::new().path(folder).build();
    let upload = host.docker.upload_to_container(container, Some(options), bollard::body_full(archive));
    host.call("deliver the agent", CHANGE, upload).await
}

fn pack(agent: &AgentBinary) -> std::io::Result<Bytes> {
    let mut archive = tar::Builder::new(Vec::with_capacity(agent.content.len() + 2048));
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o755);
    header.set_size(u64::try_from(agent.content.len()).map_err(std::io::Error::other)?);
    archive.append_data(&mut header, NAME, agent.content.as_ref())?;
    Ok(archive.into_inner()?.into())
}

/// Containers of an earlier installation that was cut short, or of the present one.
async fn remove_installers(host: &Host) -> Result<(), BackendError> {
    let filters = HashMap::from([("label", vec![labels::instance_filter(&host.instance), LABEL.to_owned()])]);
    let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
    let found = host.call("list containers", LOOK, host.docker.list_containers(Some(options))).await?;
    for id in found.into_iter().filter_map(|container| container.id) {
        let options = RemoveContainerOptionsBuilder::new().force(true).build();
        let removal = host.docker.remove_container(&id, Some(options));
        match host.try_call("remove container", CHANGE, removal).await? {
            Err(error) if !errors::is_not_found(&error) && !errors::is_conflict(&error) => {
                return Err(errors::from_docker(&host.name, "remove container", &error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Sees to it that a running container has the present version.
pub(super) async fn deliver(host: &Host, container: &ContainerRef) -> Result<AgentProgram, BackendError> {
    let Some(agent) = &host.agent else { return Ok(AgentProgram::Missing) };
    let found = containers::existing(host, container).await?;
    let inspection = host.docker.inspect_container(&found.docker_id, None);
    let details = host.call("inspect container", LOOK, inspection).await?;
    let mounted = details
        .mounts
        .unwrap_or_default()
        .into_iter()
        .find(|mount| mount.destination.as_deref() == Some(FOLDER))
        .and_then(|mount| mount.name);
    match mounted {
        None => Ok(AgentProgram::Missing),
        Some(name) if name == volume_name(host, agent) => Ok(AgentProgram::Present),
        Some(_) => {
            let folder = format!("{UPDATES}/{}", agent.digest);
            make_folder(host, &found.docker_id, &folder).await?;
            upload(host, &found.docker_id, &folder, agent).await?;
            Ok(AgentProgram::Update(format!("{folder}/{NAME}")))
        }
    }
}

/// Makes a folder of root's with all above it.
async fn make_folder(host: &Host, container: &str, folder: &str) -> Result<(), BackendError> {
    let pack = || -> std::io::Result<Vec<u8>> {
        let mut archive = tar::Builder::new(Vec::new());
        let mut path = String::new();
        for part in folder.trim_start_matches('/').split('/') {
            path.push_str(part);
            path.push('/');
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(tar::EntryType::Directory);
            header.set_mode(0o755);
            header.set_size(0);
            archive.append_data(&mut header, &path, std::io::empty())?;
        }
        archive.into_inner()
    };
    let archive =
        pack().map_err(|error| errors::from_docker(&host.name, "deliver the agent", &error.into()))?;
    let options = UploadToContainerOptionsBuilder::new().path("/").build();
    let upload =
        host.docker.upload_to_container(container, Some(options), bollard::body_full(archive.into()));
    host.call("deliver the agent", CHANGE, upload).await
}

/// The main process of a container that has the agent.
pub(super) fn entrypoint() -> Vec<String> {
    vec![PROGRAM.to_owned(), "init".to_owned()]
}
