//! `clone`: what is refused at once, what is locked, and what the worker does.

use super::{
    CONFIG_PATIENCE,
    config::{Config, Section},
    network, volumes,
};
use crate::{
    cluster::state::{Guest, State},
    failure::Failure,
    server::call::{Answer, Call},
    tasks::{self, Worker},
};

/// How long the copy of a disk takes, in seconds.
const COPY: f64 = 12.0;

/// How long a linked clone of a disk takes, in seconds.
const LINK: f64 = 2.0;

/// What a clone's worker has to do.
#[derive(Clone)]
struct Plan {
    from: u32,
    to: u32,
    node: String,
    target: String,
    full: bool,
    pool: Option<String>,
    /// The disks of the source: key, value, storage of the copy.
    disks: Vec<(String, String, String)>,
    config: Config,
}

/// `POST clone`
///
/// # Errors
///
/// What is refused before a worker starts.
pub async fn clone(call: &Call) -> Result<Answer, Failure> {
    let from = call.vmid();
    may_be_placed(call, &call.cluster.state())?;
    let plan = {
        let _lock = call.cluster.lock_config(from, CONFIG_PATIENCE).await.map_err(Failure::other)?;
        let runs = call.cluster.runs(from).await;
        let mut state = call.cluster.state();
        let plan = plan(call, &state, runs)?;
        let source = state.guest_mut(&call.node, from)?;
        source.config.set("lock", "disk");
        let guest = Guest { config: plan.config.clone(), filesystem: None, ..source.clone() };
        state.guests.insert(plan.to, guest);
        plan
    };
    let upid =
        tasks::fork(&call.cluster, &call.identity, &call.node, "vzclone", &from.to_string(), |worker| {
            run(worker, plan)
        });
    Ok(upid.into())
}

/// Refuses a pool, a node or a storage that there is not, or that can not be used.
fn may_be_placed(call: &Call, state: &State) -> Result<(), Failure> {
    if let Some(pool) = call.params.get("pool") {
        state.require_pool(pool)?;
    }
    let target = call.params.get("target").filter(|target| *target != call.node);
    if let Some(target) = target.filter(|target| !state.nodes.contains_key(*target)) {
        return Err(Failure::other(format!("no such cluster node '{target}'")));
    }
    let Some(name) = call.params.get("storage") else { return Ok(()) };
    let storage =
        state.storages.get(name).ok_or_else(|| Failure::other(format!("storage '{name}' does not exist")))?;
    let nodes = [Some(call.node.as_str()), target].into_iter().flatten();
    if let Some(node) = nodes.into_iter().find(|node| !storage.is_on(node)) {
        return Err(Failure::other(format!("storage '{name}' is not available on node '{node}'")));
    }
    if target.is_some() && !storage.shared {
        return Err(Failure::other(format!("can't clone to non-shared storage '{name}'")));
    }
    Ok(())
}

fn plan(call: &Call, state: &State, runs: bool) -> Result<Plan, Failure> {
    let (from, to) = (call.vmid(), call.params.number("newid").unwrap_or_default());
    let source = state.guest(&call.node, from)?;
    source.config.check_lock().map_err(Failure::other)?;
    let snapshot = call.params.get("snapname");
    let template = source.config.flag("template");
    // Only where it is not said is the copy of a container full, and that of a template linked.
    let full = call.params.get("full").map_or(!template, |full| full == "1");
    if let Some(words) = state.taken(to) {
        return Err(Failure::other(words));
    }
    let storage = call.params.get("storage");
    if !full && storage.is_some() {
        return Err(Failure::other("parameter 'storage' not allowed for linked clones"));
    }
    let section = match snapshot {
        None => &source.config.main,
        Some(name) => {
            let section = source.config.snapshots.get(name);
            section.ok_or_else(|| Failure::other(format!("snapshot '{name}' does not exist")))?
        }
    };
    let config = Config { main: copied(call, state, section)?, ..Config::default() };
    let can_link = template || snapshot.is_some();
    let disks = disks(call, state, section, full, can_link)?;
    if full && runs && snapshot.is_none() && !disks.is_empty() {
        return Err(Failure::other("Full clone of a running container is only possible from a snapshot"));
    }
    let target = call.params.get("target").unwrap_or(&call.node).to_owned();
    let local = |name: &str| !state.storages.get(name).is_some_and(|storage| storage.shared);
    if target != call.node && disks.iter().any(|(_, _, to)| local(to)) {
        return Err(Failure::other(format!("can't clone CT to node '{target}' (CT uses local storage)")));
    }
    let pool = call.params.get("pool").map(str::to_owned);
    Ok(Plan { from, to, node: call.node.clone(), target, full, pool, disks, config })
}

fn disks(
    call: &Call,
    state: &State,
    section: &Section,
    full: bool,
    can_link: bool,
) -> Result<Vec<(String, String, String)>, Failure> {
    let mut disks = Vec::new();
    for (key, value) in &section.values {
        if key != "rootfs" && key.strip_prefix("mp").is_none_or(|index| index.parse::<u8>().is_err()) {
            continue;
        }
        let volume = volumes::volume(value);
        let Some(own) = volumes::storage(volume) else {
            let kind = if volume.starts_with("/dev/") { "device" } else { "bind" };
            return Err(Failure::other(format!("unable to clone mountpoint '{key}' (type {kind})")));
        };
        let to = call.params.get("storage").unwrap_or(own);
        state.require(&call.identity, &format!("/storage/{to}"), &["Datastore.AllocateSpace"])?;
        let linkable =
            can_link && state.storages.get(own).is_some_and(|storage| volumes::links(storage.kind));
        if !full && !linkable {
            return Err(Failure::other(format!("Linked clone feature for '{volume}' is not available")));
        }
        disks.push((key.clone(), value.clone(), to.to_owned()));
    }
    Ok(disks)
}

/// Everything but disks, what belongs to the source alone, and what the call gives anew.
fn copied(call: &Call, state: &State, section: &Section) -> Result<Section, Failure> {
    let mut copy = section.clone();
    let left_out = ["lock", "template", "parent", "snaptime", "snapstate", "rootfs"];
    copy.values.retain(|key, _| {
        let numbered = |stem: &str| key.strip_prefix(stem).is_some_and(|index| index.parse::<u8>().is_ok());
        !left_out.contains(&key.as_str()) && !numbered("mp") && !numbered("unused")
    });
    for (_, value) in copy.values.iter_mut().filter(|(key, _)| network::is_card(key)) {
        network::may_use(state, &call.identity, value)?;
        *value = network::with_fresh_hwaddr(value);
    }
    for key in ["hostname", "description"] {
        if let Some(value) = call.params.get(key) {
            copy.values.insert(key.to_owned(), value.to_owned());
        }
    }
    copy.values.insert("lock".into(), "create".into());
    Ok(copy)
}

async fn run(worker: Worker, plan: Plan) -> Result<(), String> {
    let result = copy(&worker, &plan).await;
    let unlock = |state: &mut State, vmid: u32| {
        if let Some(guest) = state.guests.get_mut(&vmid) {
            guest.config.unlock();
        }
    };
    let Err(words) = result else {
        let mut state = worker.cluster.state();
        unlock(&mut state, plan.from);
        unlock(&mut state, plan.to);
        // Until now it was where its source is.
        if let Some(guest) = state.guests.get_mut(&plan.to) {
            guest.node.clone_from(&plan.target);
        }
        return Ok(());
    };
    // What is left of a copy that failed is nobody's.
    let _ = worker.cluster.containers.remove(plan.to).await;
    let mut state = worker.cluster.state();
    state.guests.remove(&plan.to);
    unlock(&mut state, plan.from);
    Err(format!("clone failed: {words}"))
}

async fn copy(worker: &Worker, plan: &Plan) -> Result<(), String> {
    worker.log(format!("creating a clone of container {} with ID {}", plan.from, plan.to));
    let mut values = Vec::new();
    for (disk, (key, value, storage)) in plan.disks.iter().enumerate() {
        let kind = worker.cluster.state().storages.get(storage).map(|storage| storage.kind);
        let kind = kind.ok_or_else(|| format!("storage '{storage}' does not exist"))?;
        let source = volumes::volume(value);
        let name = if plan.full {
            volumes::name(storage, kind, plan.to, disk)
        } else {
            volumes::linked(source, kind, plan.to, disk)
        };
        let how = if plan.full { "full clone of mountpoint" } else { "linked clone of mount point" };
        worker.log(format!("create {how} {key} ({source})"));
        {
            let _lock = worker.unless_aborted(worker.cluster.lock_storage(storage)).await??;
            worker.work(LINK).await?;
        }
        if plan.full {
            worker.work(COPY).await?;
        }
        values.push((key.clone(), value.replacen(source, &name, 1)));
    }
    worker.unless_aborted(worker.cluster.containers.copy(plan.from, plan.to)).await??;
    {
        let mut state = worker.cluster.state();
        let guest = state.guest_mut(&plan.node, plan.to).map_err(|failure| failure.message)?;
        guest.config.main.values.extend(values);
        if let Some(pool) = plan.pool.as_ref().and_then(|name| state.pools.get_mut(name)) {
            pool.guests.insert(plan.to);
        }
    }
    warn_about_systemd(worker, plan.to);
    worker.work(1.0).await
}

/// A new systemd without `nesting` is a warning.
pub fn warn_about_systemd(worker: &Worker, vmid: u32) {
    let warns = worker.cluster.state().guests.get(&vmid).is_some_and(|guest| {
        let nests = guest.config.get("features").is_some_and(|features| features.contains("nesting=1"));
        guest.systemd && !nests
    });
    if warns {
        worker.warn("Systemd 252 detected. You may need to enable nesting.");
    }
}
