//! What containers are doing, as the API shows it.

use serde_json::{Value, json};

use super::{snapshot, volumes};
use crate::{
    cluster::state::Guest,
    containers::{Init, Interface},
    failure::Failure,
    server::call::{Answer, Call},
};

fn described(vmid: u32, guest: &Guest, init: Option<Init>) -> Value {
    let config = &guest.config;
    let number =
        |key: &str, default: u64| config.get(key).and_then(|text| text.parse().ok()).unwrap_or(default);
    let uptime = init.and_then(|init| init.started).and_then(|since| since.elapsed().ok());
    let stored = config.get("rootfs").and_then(volumes::size_of).unwrap_or(4 << 30);
    // While it runs it is the file system that is looked at.
    let disk = guest.filesystem.filter(|_| init.is_some()).unwrap_or(stored);
    let mut value = json!({
        "vmid": vmid, "type": "lxc", "name": config.hostname(vmid),
        "status": if init.is_some() { "running" } else { "stopped" },
        "cpus": number("cores", 16), "cpu": 0, "mem": 0, "swap": 0, "disk": 0, "netin": 0, "netout": 0,
        "diskread": 0, "diskwrite": 0, "maxmem": number("memory", 512) << 20,
        "maxswap": number("swap", 0) << 20, "maxdisk": disk, "uptime": uptime.map_or(0, |time| time.as_secs()),
    });
    let limit = config.get("cpulimit").filter(|limit| !matches!(*limit, "0" | " "));
    if let Some(limit) = limit.filter(|_| config.get("cores").is_none()) {
        value["cpus"] = json!(limit);
    }
    for key in ["tags", "lock"] {
        if let Some(text) = config.get(key) {
            value[key] = json!(text);
        }
    }
    if config.flag("template") {
        value["template"] = json!(1);
    }
    if let Some(init) = init {
        value["pid"] = json!(init.pid);
    }
    value
}

/// `GET /nodes/{node}/lxc`: those that the caller may see.
pub async fn list(call: &Call) -> Answer {
    let guests: Vec<(u32, Guest)> = {
        let state = call.cluster.state();
        let guests = state.guests.iter().filter(|(vmid, guest)| {
            guest.node == call.node
                && !guest.qemu
                && state.may(&call.identity, &format!("/vms/{vmid}"), &["VM.Audit"])
        });
        guests.map(|(vmid, guest)| (*vmid, guest.clone())).collect()
    };
    let mut all = Vec::new();
    for (vmid, guest) in guests {
        all.push(described(vmid, &guest, call.cluster.init(vmid).await));
    }
    json!(all).into()
}

/// `GET status/current`
///
/// # Errors
///
/// That there is no such container.
pub async fn current(call: &Call) -> Result<Answer, Failure> {
    let vmid = call.vmid();
    let guest = call.cluster.state().guest(&call.node, vmid)?.clone();
    let mut value = described(vmid, &guest, call.cluster.init(vmid).await);
    let managed = call.cluster.state().managed.contains(&vmid);
    value["ha"] = json!({"managed": u8::from(managed)});
    Ok(value.into())
}

/// `GET feature`
///
/// # Errors
///
/// That there is no such container.
pub fn feature(call: &Call) -> Result<Answer, Failure> {
    let state = call.cluster.state();
    let config = &state.guest(&call.node, call.vmid())?.config;
    let has = match call.params.get("feature") {
        Some("copy") => true,
        Some("clone") => config.flag("template") && snapshot::available(&state, config),
        _ => snapshot::available(&state, config),
    };
    Ok(json!({"hasFeature": u8::from(has)}).into())
}

/// `GET interfaces`: null while it is stopped.
///
/// # Errors
///
/// That the container can not be looked into.
pub async fn interfaces(call: &Call) -> Result<Answer, Failure> {
    let vmid = call.vmid();
    let here = call.cluster.state().guest(&call.node, vmid).is_ok();
    if !here || !call.cluster.runs(vmid).await {
        return Ok(Value::Null.into());
    }
    let state = call.cluster.containers.state(vmid).await.map_err(Failure::other)?;
    Ok(json!(state.interfaces.iter().map(interface).collect::<Vec<_>>()).into())
}

fn interface(interface: &Interface) -> Value {
    let address = |text: &String, kind: &str| {
        let (address, prefix) = text.split_once('/').unwrap_or((text, ""));
        json!({"ip-address": address, "ip-address-type": kind, "prefix": prefix})
    };
    let inet = interface.inet.iter().map(|text| address(text, "inet"));
    let inet6 = interface.inet6.iter().map(|text| address(text, "inet6"));
    let mut value = json!({
        "name": interface.name, "hwaddr": interface.hwaddr, "hardware-address": interface.hwaddr,
        "ip-addresses": inet.chain(inet6).collect::<Vec<_>>(),
    });
    for (key, addresses) in [("inet", &interface.inet), ("inet6", &interface.inet6)] {
        if let Some(last) = addresses.last() {
            value[key] = json!(last);
        }
    }
    value
}
