//! Starting and stopping containers.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{
    client::{Cause, Effect, Error, RunState, Upid},
    cluster::{Cluster, Place},
    errors, inspect,
};
use crate::backend::{BackendError, ContainerRef, Reason};

/// Time between two looks at what high availability does.
const INTERVAL: Duration = Duration::from_secs(2);

/// Starts a container.
pub(super) async fn start(cluster: &Cluster, container: &ContainerRef) -> Result<(), BackendError> {
    let _changing = cluster.bodies.lock(container.body.id).await;
    let found = inspect::existing(cluster, container).await?;
    if let Some(lock) = found.configuration.lock {
        return Err(errors::locked(found.place.vmid.get(), found.place.node.as_str(), lock));
    }
    match cluster.client.start(&found.place.node, found.place.vmid).await {
        Ok(upid) => see_done(cluster, &found.place, "the start", &upid, RunState::Running).await,
        Err(error) => unless_done(cluster, &found.place, error, RunState::Running).await,
    }
}

/// Stops a container: its processes are asked, and after the grace killed.
pub(super) async fn stop(
    cluster: &Cluster,
    container: &ContainerRef,
    grace: Duration,
) -> Result<(), BackendError> {
    let _changing = cluster.bodies.lock(container.body.id).await;
    let found = inspect::existing(cluster, container).await?;
    stop_at(cluster, &found.place, grace).await
}

/// Stops what is at a place.
pub(super) async fn stop_at(cluster: &Cluster, place: &Place, grace: Duration) -> Result<(), BackendError> {
    if !is_in(cluster, place, RunState::Running).await? {
        return Ok(());
    }
    let stopped = match cluster.client.shutdown(&place.node, place.vmid, grace, true).await {
        // It stops by force itself, and a stop that overrules it is refused.
        Ok(upid) if is_of_high_availability(&upid) => {
            return see_done(cluster, place, "the shutdown", &upid, RunState::Stopped).await;
        }
        Ok(upid) => see_done(cluster, place, "the shutdown", &upid, RunState::Stopped).await,
        Err(error) => unless_done(cluster, place, error, RunState::Stopped).await,
    };
    let Err(failure) = stopped else { return Ok(()) };
    // Somebody else's shutdown may hold the container; it is overruled.
    tracing::info!(vmid = %place.vmid, %failure, "the shutdown failed; stopping by force");
    match cluster.client.stop(&place.node, place.vmid, true).await {
        Ok(upid) => see_done(cluster, place, "the stop", &upid, RunState::Stopped).await,
        Err(error) => unless_done(cluster, place, error, RunState::Stopped).await,
    }
}

/// A task that ended, well or not, counts by what it left: of two that do the same both may end
/// well, and one may fail because the other was faster.
async fn see_done(
    cluster: &Cluster,
    place: &Place,
    what: &str,
    upid: &Upid,
    wanted: RunState,
) -> Result<(), BackendError> {
    let ended = cluster.finish(what, upid).await;
    if ended.is_ok() && is_of_high_availability(upid) {
        return comes_to(cluster, place, what, wanted).await;
    }
    if ended.is_ok() || is_in(cluster, place, wanted).await? {
        return Ok(());
    }
    ended
}

/// Whether a task only asks the cluster's high availability to do something.
fn is_of_high_availability(upid: &Upid) -> bool {
    upid.kind().starts_with("ha")
}

/// Waits for what high availability was asked for: it does so in its own time.
async fn comes_to(
    cluster: &Cluster,
    place: &Place,
    what: &str,
    wanted: RunState,
) -> Result<(), BackendError> {
    let deadline = Instant::now() + cluster.config.task_timeout.0;
    while !is_in(cluster, place, wanted).await? {
        if Instant::now() >= deadline {
            let words = format!("{what}: asked of the cluster's high availability, and not done");
            return Err(BackendError::new(Reason::Failed, words));
        }
        sleep(INTERVAL).await;
    }
    Ok(())
}

/// A refusal that says it is so already is none; nor is a lost answer whose work was done.
async fn unless_done(
    cluster: &Cluster,
    place: &Place,
    error: Error,
    wanted: RunState,
) -> Result<(), BackendError> {
    let already = matches!(
        (error.cause(), wanted),
        (Some(Cause::Running), RunState::Running) | (Some(Cause::NotRunning), RunState::Stopped)
    );
    let unknown = error.effect == Effect::Unknown;
    if (already || unknown) && is_in(cluster, place, wanted).await? {
        return Ok(());
    }
    Err(errors::from_client(&error))
}

async fn is_in(cluster: &Cluster, place: &Place, wanted: RunState) -> Result<bool, BackendError> {
    let status = cluster.client.container_status(&place.node, place.vmid).await;
    Ok(status.map_err(|error| errors::from_client(&error))?.status == wanted)
}
