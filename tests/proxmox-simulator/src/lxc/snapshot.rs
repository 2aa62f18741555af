//! Snapshots of the configuration. The containers' files have none.

use serde_json::{Value, json};

use super::{CONFIG_PATIENCE, config::Config, volumes};
use crate::{
    clock,
    cluster::state::State,
    failure::Failure,
    server::call::{Answer, Call},
    tasks::{self, Worker},
};

/// Whether the disks can be snapshotted.
pub fn available(state: &State, config: &Config) -> bool {
    let storage = config.get("rootfs").map(volumes::volume).and_then(volumes::storage);
    storage.and_then(|name| state.storages.get(name)).is_some_and(|storage| volumes::links(storage.kind))
}

/// `GET snapshot`
///
/// # Errors
///
/// That there is no such container.
pub async fn list(call: &Call) -> Result<Answer, Failure> {
    let runs = call.cluster.runs(call.vmid()).await;
    let state = call.cluster.state();
    let config = &state.guest(&call.node, call.vmid())?.config;
    let mut all: Vec<Value> = config
        .snapshots
        .iter()
        .map(|(name, section)| {
            let text = |key: &str| section.values.get(key).cloned();
            let time: u64 = text("snaptime").and_then(|time| time.parse().ok()).unwrap_or_default();
            let mut value = json!({"name": name, "snaptime": time, "description": text("description").unwrap_or_default()});
            if let Some(parent) = text("parent") {
                value["parent"] = json!(parent);
            }
            value
        })
        .collect();
    let mut current = json!({
        "name": "current", "description": "You are here!", "digest": config.digest(), "running": u8::from(runs),
    });
    if let Some(parent) = config.get("parent") {
        current["parent"] = json!(parent);
    }
    all.push(current);
    Ok(Answer::from(json!(all)))
}

/// `POST snapshot`
///
/// # Errors
///
/// What is refused before a worker starts.
pub async fn take(call: &Call) -> Result<Answer, Failure> {
    let name = call.text("snapname");
    if matches!(name.as_str(), "current" | "vzdump") {
        return Err(Failure::other(format!("unable to use snapshot name '{name}' (reserved name)")));
    }
    call.cluster.state().guest(&call.node, call.vmid())?;
    let description = call.text("description");
    Ok(fork(call, "vzsnapshot", "snapshot", move |state, config| {
        if config.snapshots.contains_key(&name) {
            return Err(format!("snapshot name '{name}' already used"));
        }
        if !available(state, config) {
            return Err("snapshot feature is not available".into());
        }
        let mut section = config.main.clone();
        section.values.remove("lock");
        section.values.insert("snaptime".into(), clock::now().to_string());
        section.values.insert("description".into(), description);
        config.snapshots.insert(name.clone(), section);
        config.set("parent", name);
        Ok(())
    }))
}

/// `DELETE snapshot/{snapname}`
///
/// # Errors
///
/// That there is no such container.
pub async fn remove(call: &Call) -> Result<Answer, Failure> {
    let name = call.text("snapname");
    call.cluster.state().guest(&call.node, call.vmid())?;
    Ok(fork(call, "vzdelsnapshot", "snapshot-delete", move |_, config| {
        let section = config.snapshots.remove(&name).ok_or(format!("snapshot '{name}' does not exist"))?;
        if config.get("parent") == Some(&name) {
            match section.values.get("parent") {
                Some(parent) => config.set("parent", parent.clone()),
                None => drop(config.main.values.remove("parent")),
            }
        }
        Ok(())
    }))
}

/// `POST snapshot/{snapname}/rollback`. A running container is stopped, and stays so.
///
/// # Errors
///
/// That there is no such container.
pub async fn rollback(call: &Call) -> Result<Answer, Failure> {
    let name = call.text("snapname");
    call.cluster.state().guest(&call.node, call.vmid())?;
    Ok(fork(call, "vzrollback", "rollback", move |_, config| {
        let section = config.snapshots.get(&name).ok_or(format!("snapshot '{name}' does not exist"))?;
        let mut main = section.clone();
        main.values.remove("snaptime");
        main.values.insert("parent".into(), name);
        config.main = main;
        Ok(())
    }))
}

fn fork<C>(call: &Call, kind: &str, lock: &str, change: C) -> Answer
where
    C: FnOnce(&State, &mut Config) -> Result<(), String> + Send + 'static,
{
    let (vmid, node, lock) = (call.vmid(), call.node.clone(), lock.to_owned());
    let work = move |worker: Worker| async move {
        let _lock = worker.unless_aborted(worker.cluster.lock_config(vmid, CONFIG_PATIENCE)).await??;
        with_config(&worker, &node, vmid, |config| {
            config.check_lock()?;
            config.set("lock", lock.clone());
            Ok(())
        })?;
        let result = worker.work(1.5).await;
        if lock == "rollback" && result.is_ok() && worker.cluster.runs(vmid).await {
            worker.cluster.containers.kill(vmid).await?;
        }
        let mut state = worker.cluster.state();
        let mut config = state.guest(&node, vmid).map_err(|failure| failure.message)?.config.clone();
        config.unlock();
        let result = result.and_then(|()| change(&state, &mut config));
        state.guest_mut(&node, vmid).map_err(|failure| failure.message)?.config = config;
        result
    };
    tasks::fork(&call.cluster, &call.identity, &call.node, kind, &call.vmid().to_string(), work).into()
}

fn with_config(
    worker: &Worker,
    node: &str,
    vmid: u32,
    change: impl FnOnce(&mut Config) -> Result<(), String>,
) -> Result<(), String> {
    let mut state = worker.cluster.state();
    change(&mut state.guest_mut(node, vmid).map_err(|failure| failure.message)?.config)
}
