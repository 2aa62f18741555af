//! Growing a disk.

use super::{CONFIG_PATIENCE, update, volumes};
use crate::{
    failure::Failure,
    server::call::{Answer, Call},
    tasks,
};

/// How long growing a file system takes, in seconds, while its container is stopped.
const OFFLINE: f64 = 22.0;

/// The same while it runs.
const ONLINE: f64 = 2.0;

/// `PUT resize`
///
/// # Errors
///
/// What is refused before a worker starts.
pub async fn resize(call: &Call) -> Result<Answer, Failure> {
    let (vmid, node, disk) = (call.vmid(), call.node.clone(), call.text("disk"));
    // Nobody waits for the file's lock here; the worker does.
    let value = {
        let state = call.cluster.state();
        let config = &state.guest(&node, vmid)?.config;
        config.check_lock().map_err(Failure::other)?;
        state.require(&call.identity, &format!("/vms/{vmid}"), &["VM.Config.Options"])?;
        update::check_digest(call, config)?;
        let value = config.get(&disk).ok_or_else(absent)?;
        if let Some(storage) = volumes::storage(volumes::volume(value)) {
            state.require(&call.identity, &format!("/storage/{storage}"), &["Datastore.AllocateSpace"])?;
        }
        grown(value, &call.text("size")).map_err(Failure::other)?
    };
    let runs = call.cluster.runs(vmid).await;
    let upid = tasks::fork(
        &call.cluster,
        &call.identity,
        &call.node,
        "resize",
        &vmid.to_string(),
        |worker| async move {
            let _lock = worker.unless_aborted(worker.cluster.lock_config(vmid, CONFIG_PATIENCE)).await??;
            let result = worker.work(if runs { ONLINE } else { OFFLINE }).await;
            let mut state = worker.cluster.state();
            let guest = state.guest_mut(&node, vmid).map_err(|failure| failure.message)?;
            if disk == "rootfs" {
                let before = guest.config.get(&disk).and_then(volumes::size_of);
                guest.filesystem = guest.filesystem.or(before).filter(|_| result.is_err());
            }
            guest.config.set(&disk, value);
            drop(state);
            if let Err(words) = result {
                // The disk has grown, and the task is none the wiser.
                worker.log(format!("Failed to update the container's filesystem: {words}"));
            }
            Ok(())
        },
    );
    Ok(upid.into())
}

/// A disk that there is not has no volume.
fn absent() -> Failure {
    let words = "property is missing and it is not optional".to_owned();
    Failure { errors: [("volume".to_owned(), words)].into(), ..Failure::other("format error") }
}

fn grown(value: &str, size: &str) -> Result<String, String> {
    let old = volumes::size_of(value).ok_or("format error")?;
    let asked = volumes::bytes(size.trim_start_matches('+')).ok_or("format error")?;
    let new = if size.starts_with('+') { old.saturating_add(asked) } else { asked };
    match new.cmp(&old) {
        std::cmp::Ordering::Less => Err("unable to shrink disk size".into()),
        std::cmp::Ordering::Equal => Err("disk is already at specified size".into()),
        std::cmp::Ordering::Greater => {
            let parts = value.split(',').map(|part| match part.strip_prefix("size=") {
                Some(_) => format!("size={}", volumes::size(new)),
                None => part.to_owned(),
            });
            Ok(parts.collect::<Vec<_>>().join(","))
        }
    }
}
