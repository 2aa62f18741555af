//! Choosing a VMID before anything is made.

use std::collections::BTreeSet;

use super::{allocate, client::VmId, cluster::Cluster, create::source, errors};
use crate::backend::{BackendError, BodyRef, ContainerSpec, Reason, Source};

/// Chooses the VMID of a body's containers.
pub(super) async fn reserve(
    cluster: &Cluster,
    body: &BodyRef,
    spec: &ContainerSpec,
    taken: &BTreeSet<u32>,
) -> Result<u32, BackendError> {
    if let Some(known) = body.known.number {
        return Ok(known);
    }
    // Whether one that was asked for is free, or may be taken over, is seen when it is to be made.
    if let Some(forced) = spec.infrastructure.number {
        return cluster.promise(body.id, |promised| {
            if promised.contains(&forced) || taken.contains(&forced) {
                let words = format!("VMID {forced} is promised to another workspace");
                return Err(BackendError::new(Reason::NumberInUse, words));
            }
            Ok(forced)
        });
    }
    let range = match source(spec) {
        Source::OsTemplate(_) => cluster.config.vmids.templates,
        _ => cluster.config.vmids.workspaces,
    };
    // What was looked at long ago does not tell what is free now.
    let mut used = cluster.look_now().await?.vmids();
    loop {
        let vmid =
            cluster.promise(body.id, |promised| allocate::lowest_free(range, &[&used, promised, taken]))?;
        // What the token may not see is not listed, and has its VMID all the same.
        let Some(number) = VmId::new(vmid) else { return Ok(vmid) };
        if cluster.client.is_free(number).await.map_err(|error| errors::from_client(&error))? {
            return Ok(vmid);
        }
        used.insert(vmid);
    }
}
