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

/// `POST snapshot`. Whether there is a container is the task's affair.
///
/// # Errors
///
/// That the name is reserved.
pub async fn take(call: &Call) -> Result<Answer, Failure> {
    let name = call.text("snapname");
    if matches!(name.as_str(), "current" | "vzdump") {
        return Err(Failure::other(format!("unable to use snapshot name '{name}' (reserved name)")));
    }
    let description = call.text("description");
    Ok(fork(
        call,
        "vzsnapshot",
        "snapshot",
        Steps {
            check: move |state: &State, config: &Config, name: &str| {
                if config.flag("template") {
                    return Err("you can't take a snapshot if it's a template".into());
                }
                config.check_lock()?;
                if config.snapshots.contains_key(name) {
                    return Err(format!("snapshot name '{name}' already used"));
                }
                if !available(state, config) {
                    return Err("snapshot feature is not available".into());
                }
                Ok(())
            },
            change: move |config: &mut Config, name: &str| {
                let mut section = config.main.clone();
                section.values.insert("snaptime".into(), clock::now().to_string());
                section.values.insert("description".into(), description);
                config.snapshots.insert(name.to_owned(), section);
                config.set("parent", name);
            },
        },
    ))
}

/// `DELETE snapshot/{snapname}`. Whether there is a container is the task's affair.
///
/// # Errors
///
/// None.
pub async fn remove(call: &Call) -> Result<Answer, Failure> {
    Ok(fork(
        call,
        "vzdelsnapshot",
        "snapshot-delete",
        Steps {
            check: |_: &State, config: &Config, name: &str| {
                exists(config, name)?;
                config.check_lock()
            },
            change: |config: &mut Config, name: &str| {
                let section = config.snapshots.remove(name).unwrap_or_default();
                if config.get("parent") == Some(name) {
                    match section.values.get("parent") {
                        Some(parent) => config.set("parent", parent.clone()),
                        None => drop(config.main.values.remove("parent")),
                    }
                }
            },
        },
    ))
}

/// `POST snapshot/{snapname}/rollback`. A running container is stopped, and stays so.
///
/// # Errors
///
/// None.
pub async fn rollback(call: &Call) -> Result<Answer, Failure> {
    Ok(fork(
        call,
        "vzrollback",
        "rollback",
        Steps {
            check: |_: &State, config: &Config, name: &str| {
                if config.flag("template") {
                    return Err("you can't rollback if vm is a template".into());
                }
                exists(config, name)?;
                config.check_lock()
            },
            change: |config: &mut Config, name: &str| {
                let mut main = config.snapshots.get(name).cloned().unwrap_or_default();
                main.values.remove("snaptime");
                main.values.insert("parent".into(), name.to_owned());
                config.main = main;
            },
        },
    ))
}

fn exists(config: &Config, name: &str) -> Result<(), String> {
    let known = config.snapshots.contains_key(name);
    if known { Ok(()) } else { Err(format!("snapshot '{name}' does not exist")) }
}

/// What a worker does with the snapshot that the call names.
struct Steps<Check, Change> {
    /// Before it locks the container.
    check: Check,
    /// When the disks are done.
    change: Change,
}

fn fork<Check, Change>(call: &Call, kind: &str, lock: &str, steps: Steps<Check, Change>) -> Answer
where
    Check: FnOnce(&State, &Config, &str) -> Result<(), String> + Send + 'static,
    Change: FnOnce(&mut Config, &str) + Send + 'static,
{
    let (vmid, node, lock, name) = (call.vmid(), call.node.clone(), lock.to_owned(), call.text("snapname"));
    let starts = call.params.flag("start").then(|| call.clone());
    let work = move |worker: Worker| async move {
        {
            let _lock = worker.unless_aborted(worker.cluster.lock_config(vmid, CONFIG_PATIENCE)).await??;
            let mut state = worker.cluster.state();
            let config = state.guest(&node, vmid).map_err(|failure| failure.message)?.config.clone();
            (steps.check)(&state, &config, &name)?;
            let guest = state.guest_mut(&node, vmid).map_err(|failure| failure.message)?;
            guest.config.set("lock", lock.clone());
        }
        if lock == "rollback" && worker.cluster.runs(vmid).await {
            worker.cluster.containers.kill(vmid).await?;
        }
        let result = worker.work(1.5).await;
        {
            let mut state = worker.cluster.state();
            let guest = state.guest_mut(&node, vmid).map_err(|failure| failure.message)?;
            guest.config.unlock();
            result?;
            (steps.change)(&mut guest.config, &name);
        }
        if let Some(call) = starts {
            // Whether it starts is that task's affair.
            let _ = Box::pin(super::power::start(&call)).await;
        }
        Ok(())
    };
    tasks::fork(&call.cluster, &call.identity, &call.node, kind, &call.vmid().to_string(), work).into()
}
