//! Starting, stopping and removing containers of a body.

use std::time::Duration;

use bollard::query_parameters::{
    InspectContainerOptions, RemoveContainerOptionsBuilder, StartContainerOptions,
    StopContainerOptionsBuilder,
};
use tokio::time::{Instant, sleep};

use super::{
    containers, errors,
    host::{CHANGE, Host, LOOK},
    networks, volumes,
};
use crate::backend::{BackendError, BodyRef, ContainerRef};

/// What Docker may take longer than the grace it was given.
const AFTER_GRACE: Duration = Duration::from_secs(10);
/// How often a removal that somebody else began is looked at.
const REMOVAL_POLL: Duration = Duration::from_millis(100);

/// Starts a container. Its network is made again if it is gone: `docker network prune` takes
/// those of stopped containers.
pub(super) async fn start(host: &Host, container: &ContainerRef) -> Result<(), BackendError> {
    let found = containers::existing(host, container).await?;
    networks::ensure(host, &container.body).await?;
    let start = || host.docker.start_container(&found.docker_id, None::<StartContainerOptions>);
    match host.try_call("start container", CHANGE, start()).await? {
        Ok(()) => Ok(()),
        // Docker remembers the network that was there when the container was made.
        Err(error) if errors::is_not_found(&error) => {
            networks::attach(host, &container.body, &found.docker_id).await?;
            host.call("start container", CHANGE, start()).await
        }
        Err(error) => Err(errors::from_docker(&host.name, "start container", &error)),
    }
}

/// Stops a container.
pub(super) async fn stop(host: &Host, container: &ContainerRef, grace: Duration) -> Result<(), BackendError> {
    let found = containers::existing(host, container).await?;
    let seconds = i32::try_from(grace.as_secs()).unwrap_or(i32::MAX);
    let options = StopContainerOptionsBuilder::new().t(seconds).build();
    let stop = host.docker.stop_container(&found.docker_id, Some(options));
    host.call("stop container", grace.saturating_add(AFTER_GRACE), stop).await
}

/// Removes one container.
pub(super) async fn remove_one(host: &Host, container: &ContainerRef) -> Result<(), BackendError> {
    match containers::one(host, container).await? {
        Some(found) => remove_container(host, &found.docker_id).await,
        None => Ok(()),
    }
}

/// Removes a body: its containers, its network, and its volumes unless they are retained.
pub(super) async fn remove_all(
    host: &Host,
    body: &BodyRef,
    retain_volumes: bool,
) -> Result<(), BackendError> {
    let containers = containers::of_body(host, body).await?;
    let docker_ids: Vec<_> = containers.into_iter().map(|container| container.docker_id).collect();
    futures::future::try_join_all(docker_ids.iter().map(|docker_id| remove_container(host, docker_id)))
        .await?;
    networks::remove(host, body, &docker_ids).await?;
    if retain_volumes { Ok(()) } else { volumes::remove(host, body).await }
}

async fn remove_container(host: &Host, docker_id: &str) -> Result<(), BackendError> {
    let options = RemoveContainerOptionsBuilder::new().force(true).build();
    let removal = host.docker.remove_container(docker_id, Some(options));
    match host.try_call("remove container", CHANGE, removal).await? {
        Ok(()) => Ok(()),
        Err(error) if errors::is_not_found(&error) => Ok(()),
        // Somebody is at it already.
        Err(error) if errors::is_conflict(&error) => {
            if gone_within(host, docker_id, LOOK).await? {
                return Ok(());
            }
            Err(errors::from_docker(&host.name, "remove container", &error))
        }
        Err(error) => Err(errors::from_docker(&host.name, "remove container", &error)),
    }
}

async fn gone_within(host: &Host, docker_id: &str, patience: Duration) -> Result<bool, BackendError> {
    let deadline = Instant::now() + patience;
    while Instant::now() < deadline {
        let look = host.docker.inspect_container(docker_id, None::<InspectContainerOptions>);
        match host.try_call("inspect container", LOOK, look).await? {
            Err(error) if errors::is_not_found(&error) => return Ok(true),
            _ => sleep(REMOVAL_POLL).await,
        }
    }
    Ok(false)
}
