//! `start`, `stop`, `shutdown` and `reboot`.

use std::{sync::Arc, time::Duration};

use super::{CONFIG_PATIENCE, clone::warn_about_systemd, config::Config, network};
use crate::{
    cluster::Cluster,
    containers::Boot,
    failure::Failure,
    server::call::{Answer, Call},
    tasks::{self, Worker},
};

/// How long a start takes besides the guest's boot, in seconds.
const START: f64 = 2.0;

const TEMPLATE: &str = "you can't start a CT if it's a template";

/// How long a guest has to shut down when nobody says, in seconds.
const SHUTDOWN: u32 = 60;

fn only_root(call: &Call) -> Result<(), Failure> {
    if call.params.flag("skiplock") && !call.identity.is_root() {
        return Err(Failure::parameter("skiplock", "Only root may use this option."));
    }
    Ok(())
}

fn fork<W, F>(call: &Call, kind: &str, work: W) -> Answer
where
    W: FnOnce(Worker) -> F,
    F: Future<Output = Result<(), String>> + Send + 'static,
{
    tasks::fork(&call.cluster, &call.identity, &call.node, kind, &call.vmid().to_string(), work).into()
}

async fn require_running(call: &Call, kind: &str) -> Result<(), Failure> {
    let vmid = call.vmid();
    let here = call.cluster.state().guest(&call.node, vmid).is_ok();
    let runs = here && call.cluster.runs(vmid).await;
    if runs { Ok(()) } else { Err(Failure::other(format!("{kind} {vmid} not running"))) }
}

/// `POST status/start`
///
/// # Errors
///
/// That it runs already.
pub async fn start(call: &Call) -> Result<Answer, Failure> {
    only_root(call)?;
    let (vmid, node) = (call.vmid(), call.node.clone());
    if require_running(call, "CT").await.is_ok() {
        return Err(Failure::other(format!("CT {vmid} already running")));
    }
    let skip_lock = call.params.flag("skiplock");
    if call.cluster.state().managed.contains(&vmid) {
        let identity = call.identity.clone();
        return Ok(fork(call, "hastart", move |worker| async move {
            let cluster = Arc::clone(&worker.cluster);
            tasks::fork(&cluster, &identity, &node.clone(), "vzstart", &vmid.to_string(), |worker| {
                run_start(worker, node, vmid, skip_lock)
            });
            worker.work(0.5).await
        }));
    }
    Ok(fork(call, "vzstart", |worker| run_start(worker, node, vmid, skip_lock)))
}

async fn run_start(worker: Worker, node: String, vmid: u32, skip_lock: bool) -> Result<(), String> {
    let _lock = worker.unless_aborted(worker.cluster.lock_config(vmid, CONFIG_PATIENCE)).await??;
    let config = config(&worker.cluster, &node, vmid)?;
    if config.flag("template") {
        return Err(TEMPLATE.into());
    }
    unless_locked(&config, skip_lock)?;
    if worker.cluster.runs(vmid).await {
        return worker.work(10.0).await;
    }
    boot(&worker, &node, vmid).await
}

/// What is mounted on the host may be started and stopped all the same.
fn unless_locked(config: &Config, skip_lock: bool) -> Result<(), String> {
    if skip_lock || config.lock() == Some("mounted") { Ok(()) } else { config.check_lock() }
}

fn config(cluster: &Cluster, node: &str, vmid: u32) -> Result<Config, String> {
    let state = cluster.state();
    state.guest(node, vmid).map(|guest| guest.config.clone()).map_err(|failure| failure.message)
}

/// Boots a container whose configuration is locked by the caller.
async fn boot(worker: &Worker, node: &str, vmid: u32) -> Result<(), String> {
    let boot = {
        let bridges = worker.cluster.bridges(node);
        let mut state = worker.cluster.state();
        let config = &mut state.guest_mut(node, vmid).map_err(|failure| failure.message)?.config;
        if config.flag("template") {
            return Err(TEMPLATE.into());
        }
        config.apply_pending();
        let boot = description(config, node, vmid);
        if let Some(nic) =
            boot.net.iter().find(|nic| !nic.bridge.is_empty() && !bridges.contains(&nic.bridge))
        {
            return Err(format!("bridge '{}' does not exist", nic.bridge));
        }
        boot
    };
    warn_about_systemd(worker, vmid);
    worker.work(START).await?;
    worker.cluster.containers.start(vmid, &boot).await.map_err(|words| {
        worker.log(words);
        format!("startup for container '{vmid}' failed")
    })
}

fn description(config: &Config, node: &str, vmid: u32) -> Boot {
    let text = |key: &str| config.get(key).map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned);
    let cards = config.main.values.iter().filter(|(key, _)| network::is_card(key));
    Boot {
        hostname: config.hostname(vmid),
        node: node.to_owned(),
        net: cards.map(|(_, value)| network::nic(value)).collect(),
        nameserver: text("nameserver"),
        searchdomain: text("searchdomain"),
        memory_mib: text("memory").and_then(|memory| memory.parse().ok()).unwrap_or(512),
        cores: text("cores").and_then(|cores| cores.parse().ok()),
    }
}

/// `POST status/stop`
///
/// # Errors
///
/// That it does not run.
pub async fn stop(call: &Call) -> Result<Answer, Failure> {
    only_root(call)?;
    require_running(call, "CT").await?;
    let (vmid, node) = (call.vmid(), call.node.clone());
    let overrule = call.params.flag("overrule-shutdown");
    let skip_lock = call.params.flag("skiplock");
    if call.cluster.state().managed.contains(&vmid) {
        if overrule {
            return Err(Failure::parameter("overrule-shutdown", "Not applicable for HA resources."));
        }
        return Ok(stop_by_high_availability(call));
    }
    Ok(fork(call, "vzstop", move |worker| async move {
        if overrule {
            end_shutdowns(&worker, vmid);
        }
        run_stop(worker, node, vmid, skip_lock).await
    }))
}

/// The task only asks; another one stops.
fn stop_by_high_availability(call: &Call) -> Answer {
    let (vmid, node, identity) = (call.vmid(), call.node.clone(), call.identity.clone());
    fork(call, "hastop", move |worker| async move {
        let cluster = Arc::clone(&worker.cluster);
        tasks::fork(&cluster, &identity, &node.clone(), "vzstop", &vmid.to_string(), |worker| {
            run_stop(worker, node, vmid, false)
        });
        worker.work(0.5).await
    })
}

fn end_shutdowns(worker: &Worker, vmid: u32) {
    let state = worker.cluster.state();
    let shutdowns = state.tasks.values().filter(|task| {
        task.exit.is_none() && task.upid.kind == "vzshutdown" && task.upid.id == vmid.to_string()
    });
    shutdowns.for_each(|task| task.abort.cancel());
}

async fn run_stop(worker: Worker, node: String, vmid: u32, skip_lock: bool) -> Result<(), String> {
    let _lock = worker.unless_aborted(worker.cluster.lock_config(vmid, CONFIG_PATIENCE)).await??;
    let config = config(&worker.cluster, &node, vmid)?;
    unless_locked(&config, skip_lock)?;
    if !worker.cluster.runs(vmid).await {
        return Ok(());
    }
    worker.work(1.0).await?;
    worker.cluster.containers.kill(vmid).await
}

/// `POST status/shutdown`
///
/// # Errors
///
/// That it does not run.
pub async fn shutdown(call: &Call) -> Result<Answer, Failure> {
    require_running(call, "CT").await?;
    let (vmid, node) = (call.vmid(), call.node.clone());
    let timeout = patience(call);
    let force = call.params.flag("forceStop");
    if call.cluster.state().managed.contains(&vmid) {
        return Ok(stop_by_high_availability(call));
    }
    Ok(fork(call, "vzshutdown", move |worker| async move {
        let _lock = worker.unless_aborted(worker.cluster.lock_config(vmid, CONFIG_PATIENCE)).await??;
        config(&worker.cluster, &node, vmid)?.check_lock()?;
        ask_to_end(&worker, vmid, timeout, force).await
    }))
}

fn patience(call: &Call) -> Duration {
    call.cluster.clock.patience(call.params.number::<u32>("timeout").unwrap_or(SHUTDOWN).into())
}

async fn ask_to_end(worker: &Worker, vmid: u32, timeout: Duration, force: bool) -> Result<(), String> {
    worker.work(0.5).await?;
    let containers = &worker.cluster.containers;
    let ended = worker.unless_aborted(containers.shutdown(vmid, timeout)).await??;
    match (ended, force) {
        (true, _) => Ok(()),
        (false, true) => containers.kill(vmid).await,
        (false, false) => Err("container did not stop".into()),
    }
}

/// `POST status/reboot`
///
/// # Errors
///
/// That it does not run.
pub async fn reboot(call: &Call) -> Result<Answer, Failure> {
    require_running(call, "VM").await?;
    let (vmid, node) = (call.vmid(), call.node.clone());
    let timeout = patience(call);
    Ok(fork(call, "vzreboot", move |worker| async move {
        let _lock = worker.unless_aborted(worker.cluster.lock_config(vmid, CONFIG_PATIENCE)).await??;
        let config = config(&worker.cluster, &node, vmid)?;
        ask_to_end(&worker, vmid, timeout, true).await?;
        // A lock is only noticed when it is stopped already.
        config.check_lock()?;
        boot(&worker, &node, vmid).await
    }))
}
