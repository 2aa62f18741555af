//! Destroying a container.

use super::{CONFIG_PATIENCE, config::Config, volumes};
use crate::{
    cluster::state::State,
    failure::Failure,
    server::call::{Answer, Call},
    settings::StorageType,
    tasks::{self, Worker},
};

/// How long freeing the disks takes, in seconds.
const FREE: f64 = 3.0;

/// `DELETE /nodes/{node}/lxc/{vmid}`
///
/// # Errors
///
/// What is refused before a worker starts.
pub async fn destroy(call: &Call) -> Result<Answer, Failure> {
    let vmid = call.vmid();
    let force = call.params.flag("force");
    let purge = call.params.flag("purge");
    {
        let state = call.cluster.state();
        let config = &state.guest(&call.node, vmid)?.config;
        allowed(&state, config, vmid, purge).map_err(Failure::other)?;
    }
    if !force && call.cluster.runs(vmid).await {
        return Err(Failure::other(running(vmid)));
    }
    let node = call.node.clone();
    let upid =
        tasks::fork(&call.cluster, &call.identity, &call.node, "vzdestroy", &vmid.to_string(), |worker| {
            run(worker, node, vmid, force, purge)
        });
    Ok(upid.into())
}

fn running(vmid: u32) -> String {
    format!("unable to destroy CT {vmid} - container is running")
}

fn allowed(state: &State, config: &Config, vmid: u32, purge: bool) -> Result<(), String> {
    if config.flag("protection") {
        return Err(format!("can't remove CT {vmid} - protection mode enabled"));
    }
    config.check_lock()?;
    if state.managed.contains(&vmid) && !purge {
        return Err(format!(
            "unable to remove CT {vmid} - used in HA resources and purge parameter not set."
        ));
    }
    Ok(())
}

async fn run(worker: Worker, node: String, vmid: u32, force: bool, purge: bool) -> Result<(), String> {
    let cluster = &worker.cluster;
    let _lock = worker.unless_aborted(cluster.lock_config(vmid, CONFIG_PATIENCE)).await??;
    let config = {
        let state = cluster.state();
        let config = state.guest(&node, vmid).map_err(|failure| failure.message)?.config.clone();
        allowed(&state, &config, vmid, purge)?;
        in_use(&state, &config)?;
        config
    };
    if cluster.runs(vmid).await {
        if !force {
            return Err(running(vmid));
        }
        cluster.containers.kill(vmid).await?;
    }
    if let Some(storage) = config.get("rootfs").map(volumes::volume).and_then(volumes::storage) {
        let _lock = worker.unless_aborted(cluster.lock_storage(storage)).await??;
        worker.work(FREE).await?;
        cluster.containers.remove(vmid).await?;
    } else {
        worker.work(FREE).await?;
        // A container without a disk has nothing to remove.
        let _ = cluster.containers.remove(vmid).await;
    }
    let mut state = cluster.state();
    state.guests.remove(&vmid);
    state.managed.remove(&vmid);
    for pool in state.pools.values_mut() {
        pool.guests.remove(&vmid);
    }
    let path = format!("/vms/{vmid}");
    state.access.acls.retain(|acl| acl.path != path);
    Ok(())
}

/// A template's disk that linked clones need stays, where the storage can not do without it.
fn in_use(state: &State, config: &Config) -> Result<(), String> {
    let Some(volume) = config.get("rootfs").map(volumes::volume) else { return Ok(()) };
    let needed = volumes::storage(volume)
        .and_then(|name| state.storages.get(name))
        .is_some_and(|storage| storage.kind == StorageType::Zfspool);
    let start = format!("{volume}/");
    let clones = state.guests.values().filter_map(|guest| guest.config.get("rootfs"));
    if needed && clones.into_iter().any(|rootfs| rootfs.starts_with(&start)) {
        return Err(format!("base volume '{volume}' is still in use by linked clones"));
    }
    Ok(())
}
