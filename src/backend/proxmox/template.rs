//! Templates: where they are, on which nodes their clones can stand, and how they are made.

use std::time::Duration;

use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use super::{
    client::{Content, Effect, StorageName},
    cluster::Cluster,
    errors, inspect, power,
};
use crate::backend::{BackendError, ContainerRef, Reason, Source, TemplatePlace};

/// Time between two looks at a conversion, which has no task to look at.
const INTERVAL: Duration = Duration::from_secs(1);
const GRACE: Duration = Duration::from_secs(30);
/// How long after a lost answer its work is looked for. Whoever asks again finds what was done.
const LATE: Duration = Duration::from_secs(3);

/// Where a template is.
pub(super) async fn place(cluster: &Cluster, number: u32) -> Result<TemplatePlace, BackendError> {
    let (place, configuration) = cluster.template_place(number).await?;
    let volume = configuration.rootfs.map(|rootfs| rootfs.volume);
    let storage = volume.and_then(|volume| volume.split_once(':').map(|(storage, _)| storage.to_owned()));
    Ok(TemplatePlace { host: place.node.to_string(), storage })
}

/// The nodes on which containers can be made from an image. A clone can leave the template's node
/// only for a storage that both share: then every node that has the storage will do.
pub(super) async fn hosts(cluster: &Cluster, image: &str) -> Result<Option<Vec<String>>, BackendError> {
    let Ok(source) = image.parse::<Source>();
    let Source::Template(number) = source else { return Ok(None) };
    let found = place(cluster, number).await?;
    let storage = cluster.config.storage.as_ref().or(found.storage.as_ref());
    let Some(storage) = storage.and_then(|name| name.parse::<StorageName>().ok()) else {
        return Ok(Some(vec![found.host]));
    };
    let mut hosts = vec![found.host.clone()];
    let nodes = cluster.look.borrow().nodes.clone();
    for node in nodes.iter().filter(|node| node.online && node.node.as_str() != found.host) {
        let storages = cluster.client.storages(&node.node, Some(Content::ContainerDisks)).await;
        let storages = storages.map_err(|error| errors::from_client(&error))?;
        if storages.iter().any(|here| here.name == storage && here.shared && here.active) {
            hosts.push(node.node.to_string());
        }
    }
    Ok(Some(hosts))
}

/// Converts a container to a template. The answer comes before the work is done, and there is no
/// task to follow: its configuration says when it is one.
pub(super) async fn convert(
    cluster: &Cluster,
    container: &ContainerRef,
    progress: &watch::Sender<String>,
) -> Result<(), BackendError> {
    let _changing = cluster.bodies.lock(container.body.id).await;
    let found = inspect::existing(cluster, container).await?;
    if found.configuration.template {
        return Ok(());
    }
    power::stop_at(cluster, &found.place, GRACE).await?;
    progress.send_replace(format!("making a template of CT {}", found.place.vmid));
    let (node, vmid) = (&found.place.node, found.place.vmid);
    let asked = cluster.client.make_template(node, vmid).await;
    let deadline = Instant::now() + cluster.config.task_timeout.0;
    let heard_by = Instant::now() + LATE;
    loop {
        let configuration = cluster.configuration(&found.place).await?;
        if configuration.is_some_and(|configuration| configuration.template && configuration.lock.is_none()) {
            return Ok(());
        }
        if let Err(error) = &asked
            && (error.effect == Effect::Nothing || Instant::now() >= heard_by)
        {
            return Err(errors::from_client(error));
        }
        if Instant::now() >= deadline {
            let words = format!("CT {vmid} did not become a template; its node's task log says why");
            return Err(BackendError::new(Reason::Failed, words));
        }
        sleep(INTERVAL).await;
    }
}
