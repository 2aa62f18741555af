//! The volumes of a body.

use bollard::{
    models::{Volume, VolumeCreateRequest},
    query_parameters::{ListVolumesOptionsBuilder, RemoveVolumeOptions},
};

use super::{
    errors,
    host::{CHANGE, Host, LOOK},
    labels::{self, Filters},
};
use crate::backend::{BackendError, BodyId, BodyRef, Reason};

/// All volumes of this instance on the host.
pub(super) async fn of_instance(host: &Host) -> Result<Vec<Volume>, BackendError> {
    list(host, labels::instance_filters(&host.instance)).await
}

/// The volumes of a body.
pub(super) async fn of_body(host: &Host, id: BodyId) -> Result<Vec<Volume>, BackendError> {
    list(host, labels::body_filters(&host.instance, id)).await
}

async fn list(host: &Host, filters: Filters) -> Result<Vec<Volume>, BackendError> {
    let options = ListVolumesOptionsBuilder::new().filters(&filters).build();
    let found = host.call("list volumes", LOOK, host.docker.list_volumes(Some(options))).await?;
    let mut volumes = found.volumes.unwrap_or_default();
    volumes.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(volumes)
}

/// Makes the volumes of a body, those that are missing.
pub(super) async fn ensure(host: &Host, body: &BodyRef) -> Result<(), BackendError> {
    futures::try_join!(
        ensure_one(host, body, labels::workspace_volume(body.id)),
        ensure_one(host, body, labels::cache_volume(body.id)),
    )?;
    Ok(())
}

async fn ensure_one(host: &Host, body: &BodyRef, name: String) -> Result<(), BackendError> {
    let request = VolumeCreateRequest {
        name: Some(name.clone()),
        labels: Some(labels::of_volume(&host.instance, body)),
        ..VolumeCreateRequest::default()
    };
    // Docker answers with an existing volume of that name, whosever it is.
    let volume = host.call("create volume", CHANGE, host.docker.create_volume(request)).await?;
    if labels::carries(Some(&volume.labels), &labels::of_body(&host.instance, body.id)) {
        return Ok(());
    }
    let words = format!("there is a volume {name} that is not ours");
    Err(errors::refuse(&host.name, Reason::Conflict, words))
}

/// Removes the volumes of a body with all that is in them.
pub(super) async fn remove(host: &Host, body: &BodyRef) -> Result<(), BackendError> {
    for volume in of_body(host, body.id).await? {
        let removal = host.docker.remove_volume(&volume.name, None::<RemoveVolumeOptions>);
        match host.try_call("remove volume", CHANGE, removal).await? {
            Err(error) if !errors::is_not_found(&error) => {
                return Err(errors::from_docker(&host.name, "remove volume", &error));
            }
            _ => {}
        }
    }
    Ok(())
}
