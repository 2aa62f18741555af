//! Making a container from an OS template.

use super::{
    CONFIG_PATIENCE,
    clone::warn_about_systemd,
    config::Config,
    rules::{self, Asked},
    volumes,
};
use crate::{
    cluster::state::{Guest, State},
    containers::Setup,
    failure::Failure,
    server::call::{Answer, Call},
    tasks::{self, Worker},
};

/// How long one waits for a new container's configuration, in seconds.
const PATIENCE: f64 = 5.0;

/// How long unpacking takes, in seconds.
const UNPACK: f64 = 8.0;

/// What is no key of the configuration.
const OTHER: &[&str] = &[
    "node",
    "vmid",
    "ostemplate",
    "storage",
    "rootfs",
    "password",
    "ssh-public-keys",
    "pool",
    "start",
    "force",
    "restore",
    "unique",
    "bwlimit",
    "ha-managed",
    "ignore-unpack-errors",
];

/// `POST /nodes/{node}/lxc`
///
/// # Errors
///
/// What is refused before a worker starts.
pub async fn create(call: &Call) -> Result<Answer, Failure> {
    let vmid = call.vmid();
    let (config, volume, systemd) = {
        let state = call.cluster.state();
        if call.params.get("unprivileged") == Some("0") {
            state.require(&call.identity, "/", &["Sys.Modify"])?;
        }
        if let Some(words) = state.taken(vmid) {
            return Err(Failure::other(words));
        }
        allowed(call, &state)?;
        let (storage, file) = template(call, &state)?;
        let systemd = !["alpine", "openrc", "sysvinit"].iter().any(|each| file.contains(each));
        let (config, volume) = configuration(call, &state, &storage)?;
        (config, volume, systemd)
    };
    let _lock = call.cluster.lock_config(vmid, PATIENCE).await.map_err(Failure::other)?;
    {
        let mut state = call.cluster.state();
        if let Some(words) = state.taken(vmid) {
            return Err(Failure::other(format!("unable to create CT {vmid} - {words}")));
        }
        // All else is written when the archive is unpacked.
        let mut begun = Config::default();
        begun.set("lock", "create");
        state.guests.insert(
            vmid,
            Guest { node: call.node.clone(), qemu: false, systemd, filesystem: None, config: begun },
        );
    }
    let asked = call.clone();
    let upid =
        tasks::fork(&call.cluster, &call.identity, &call.node, "vzcreate", &vmid.to_string(), |worker| {
            run(worker, asked, config, volume)
        });
    Ok(upid.into())
}

fn allowed(call: &Call, state: &State) -> Result<(), Failure> {
    let (identity, vmid) = (&call.identity, call.vmid());
    let pool = call.params.get("pool");
    if let Some(pool) = pool {
        state.require_pool(pool)?;
    }
    let mut paths = pool.map(|pool| format!("/pool/{pool}")).into_iter().chain([format!("/vms/{vmid}")]);
    if !paths.any(|path| state.may(identity, &path, &["VM.Allocate"])) {
        return Err(Failure::denied(""));
    }
    // A new container is unprivileged unless the call says otherwise.
    let unprivileged = call.params.get("unprivileged") != Some("0");
    let asked = Asked { state, identity, vmid, pool, config: None, unprivileged };
    let keys = call.params.0.iter().filter(|(key, _)| !OTHER.contains(&key.as_str()));
    keys.into_iter().try_for_each(|(key, value)| asked.may_change(key, value.as_deref()))
}

/// The storage for the disk and the file of the OS template.
fn template(call: &Call, state: &State) -> Result<(String, String), Failure> {
    let volume = call.text("ostemplate");
    let no_volume = || Failure::other(format!("volume '{volume}' does not exist"));
    let (storage, file) = volume
        .split_once(':')
        .ok_or_else(|| Failure::other(format!("unable to parse volume ID '{volume}'\n")))?;
    let known = state
        .storages
        .get(storage)
        .ok_or_else(|| Failure::other(format!("storage '{storage}' does not exist")))?;
    state.require(
        &call.identity,
        &format!("/storage/{storage}"),
        &["Datastore.AllocateSpace", "Datastore.Audit"],
    )?;
    let file =
        file.strip_prefix("vztmpl/").filter(|file| known.templates.contains(*file)).ok_or_else(no_volume)?;
    let target = call.params.get("rootfs").map(volumes::volume).and_then(volumes::storage);
    let target = target.or(call.params.get("storage")).unwrap_or("local");
    let place = state
        .storages
        .get(target)
        .ok_or_else(|| Failure::other(format!("storage '{target}' does not exist")))?;
    if !place.content.contains("rootdir") {
        let words = format!("storage '{target}' does not support container directories");
        return Err(Failure::parameter("storage", words));
    }
    state.require(&call.identity, &format!("/storage/{target}"), &["Datastore.AllocateSpace"])?;
    Ok((target.to_owned(), file.to_owned()))
}

/// The first configuration, and the value of `rootfs` that follows.
fn configuration(call: &Call, state: &State, storage: &str) -> Result<(Config, String), Failure> {
    let mut config = Config::default();
    for (key, value) in call.params.0.iter().filter(|(key, _)| !OTHER.contains(&key.as_str())) {
        config.set(key, rules::stored(key, value.as_deref()));
    }
    for (key, value) in
        [("arch", "amd64"), ("memory", "512"), ("swap", "512"), ("ostype", "debian"), ("unprivileged", "1")]
    {
        config.main.values.entry(key.to_owned()).or_insert_with(|| value.to_owned());
    }
    config.set("hostname", config.hostname(call.vmid()));
    let kind = state.storages.get(storage).map(|storage| storage.kind);
    let kind = kind.ok_or_else(|| Failure::other(format!("storage '{storage}' does not exist")))?;
    let size = call.params.get("rootfs").and_then(|value| volumes::volume(value).rsplit(':').next());
    let size = size.and_then(|size| volumes::bytes(&format!("{size}G"))).unwrap_or(4 << 30);
    let name = volumes::name(storage, kind, call.vmid(), 0);
    Ok((config, format!("{name},size={}", volumes::size(size))))
}

async fn run(worker: Worker, call: Call, config: Config, volume: String) -> Result<(), String> {
    let vmid = call.vmid();
    let lock = worker.unless_aborted(worker.cluster.lock_config(vmid, CONFIG_PATIENCE)).await??;
    let result = unpack(&worker, &call, config, volume).await;
    if let Err(words) = result {
        let _ = worker.cluster.containers.remove(vmid).await;
        worker.cluster.state().guests.remove(&vmid);
        return Err(format!("unable to create CT {vmid} - {words}"));
    }
    {
        let mut state = worker.cluster.state();
        if let Some(pool) = call.params.get("pool").and_then(|name| state.pools.get_mut(name)) {
            pool.guests.insert(vmid);
        }
    }
    warn_about_systemd(&worker, vmid);
    drop(lock);
    if call.params.flag("start") {
        // Whether it starts is that task's affair.
        let _ = Box::pin(super::power::start(&call)).await;
    }
    Ok(())
}

async fn unpack(worker: &Worker, call: &Call, config: Config, volume: String) -> Result<(), String> {
    let vmid = call.vmid();
    worker.log(format!("extracting archive '{}'", call.text("ostemplate")));
    worker.work(UNPACK).await?;
    let hostname = {
        let mut state = worker.cluster.state();
        let guest = state.guest_mut(&call.node, vmid).map_err(|failure| failure.message)?;
        // With it the lock goes, and the rest of the work is only guarded by the file's.
        guest.config = config;
        guest.config.set("rootfs", volume);
        guest.config.hostname(vmid)
    };
    let setup = Setup {
        hostname,
        root_password: call.params.get("password").map(str::to_owned),
        ssh_public_keys: call.params.get("ssh-public-keys").map(str::to_owned),
    };
    worker.cluster.containers.create(vmid, &call.text("ostemplate"), &setup).await
}
