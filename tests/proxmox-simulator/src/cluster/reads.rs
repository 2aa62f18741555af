//! Reading what the cluster and its nodes are.

use serde_json::{Value, json};

use super::state::{Guest, State};
use crate::{
    failure::Failure,
    lxc::volumes,
    server::call::{Answer, Call},
};

/// `GET /cluster/nextid`: a number as a string.
///
/// # Errors
///
/// That the number, or every number, is taken.
pub fn next_id(call: &Call) -> Result<Answer, Failure> {
    let state = call.cluster.state();
    if let Some(vmid) = call.params.number::<u32>("vmid") {
        if state.guests.contains_key(&vmid) {
            return Err(Failure::parameter("vmid", format!("VM {vmid} already exists")));
        }
        return Ok(vmid.to_string().into());
    }
    let range = state.next_id;
    let free = (range.lower..range.upper).find(|vmid| !state.guests.contains_key(vmid));
    free.map(|vmid| vmid.to_string().into()).ok_or_else(|| {
        Failure::other(format!("unable to get any free VMID in range [{}, {}]", range.lower, range.upper))
    })
}

/// `GET /cluster/resources`: what the last tick saw, with live tags and locks.
pub fn resources(call: &Call) -> Answer {
    let state = call.cluster.state();
    let kind = call.params.get("type");
    let wanted = |name: &str| kind.is_none_or(|kind| kind == name);
    let mut all = Vec::new();
    if wanted("vm") {
        let visible = state
            .guests
            .iter()
            .filter(|(vmid, _)| state.may(&call.identity, &format!("/vms/{vmid}"), &["VM.Audit"]));
        all.extend(visible.map(|(vmid, guest)| guest_seen(&state, *vmid, guest)));
    }
    if wanted("node") {
        all.extend(state.nodes.keys().map(|name| {
            let mut value = node(&state, call, name);
            value["type"] = json!("node");
            value
        }));
    }
    if wanted("storage") {
        for (name, storage) in &state.storages {
            if !state.may(
                &call.identity,
                &format!("/storage/{name}"),
                &["Datastore.Audit", "Datastore.AllocateSpace"],
            ) {
                continue;
            }
            all.extend(state.nodes.keys().filter(|node| storage.is_on(node)).map(|node| {
                json!({
                    "id": format!("storage/{node}/{name}"), "type": "storage", "storage": name, "node": node,
                    "status": if state.offline.contains(node) { "unknown" } else { "available" },
                    "plugintype": storage.kind, "shared": u8::from(storage.shared),
                    "content": storage.content.iter().cloned().collect::<Vec<_>>().join(","),
                    "disk": 0, "maxdisk": storage.total,
                })
            }));
        }
    }
    json!(all).into()
}

fn guest_seen(state: &State, vmid: u32, guest: &Guest) -> Value {
    let kind = if guest.qemu { "qemu" } else { "lxc" };
    let seen = state.seen.get(&vmid).filter(|_| !state.offline.contains(&guest.node));
    let mut value = json!({
        "id": format!("{kind}/{vmid}"), "type": kind, "vmid": vmid, "node": guest.node,
        "status": match seen { Some(seen) if seen.running => "running", Some(_) => "stopped", None => "unknown" },
    });
    if let Some(seen) = seen {
        value["name"] = json!(seen.name);
        value["template"] = json!(u8::from(seen.template));
        value["maxdisk"] = json!(guest.config.get("rootfs").and_then(volumes::size_of).unwrap_or(4 << 30));
    }
    for key in ["tags", "lock"] {
        if let Some(text) = guest.config.get(key) {
            value[key] = json!(text);
        }
    }
    if let Some(pool) = state.pool_of(vmid) {
        value["pool"] = json!(pool);
    }
    value
}

fn node(state: &State, call: &Call, name: &str) -> Value {
    let online = !state.offline.contains(name);
    let mut value = json!({
        "id": format!("node/{name}"), "node": name, "status": if online { "online" } else { "offline" },
    });
    let metrics = state
        .nodes
        .get(name)
        .filter(|_| online && state.may(&call.identity, &format!("/nodes/{name}"), &["Sys.Audit"]));
    if let Some(node) = metrics {
        value["maxcpu"] = json!(node.cores);
        value["cpu"] = json!(0.05);
        value["maxmem"] = json!(node.memory);
        value["mem"] = json!(node.memory / 8);
        value["uptime"] = json!(86_400);
    }
    value
}

/// `GET /nodes`
pub fn nodes(call: &Call) -> Answer {
    let state = call.cluster.state();
    let all = state.nodes.keys().map(|name| {
        let mut value = node(&state, call, name);
        value["type"] = json!("node");
        value
    });
    json!(all.collect::<Vec<_>>()).into()
}

/// `GET /nodes/{node}/status`
pub fn node_status(call: &Call) -> Answer {
    let state = call.cluster.state();
    let node = state.nodes.get(&call.node).cloned().unwrap_or_default();
    json!({
        "uptime": 86_400, "cpu": 0.05, "pveversion": "pve-manager/9.2.11",
        "cpuinfo": {"cpus": node.cores},
        "memory": {"total": node.memory, "used": node.memory / 8, "free": node.memory / 8 * 7},
    })
    .into()
}

/// `GET /nodes/{node}/network`: the node has bridges and nothing else. Asked for bridges, it shows
/// those that the caller may use or audit.
pub fn network(call: &Call) -> Answer {
    let state = call.cluster.state();
    let kind = call.params.get("type");
    let asked = kind.is_none_or(|kind| matches!(kind, "bridge" | "any_bridge" | "any_local_bridge"));
    let node = state.nodes.get(&call.node).filter(|_| asked);
    let bridges = node.into_iter().flat_map(|node| &node.bridges).filter(|name| {
        let path = format!("/sdn/zones/localnetwork/{name}");
        !kind.is_some_and(|kind| kind.starts_with("any_"))
            || state.may(&call.identity, &path, &["SDN.Audit", "SDN.Use"])
    });
    json!(bridges.map(|name| json!({"iface": name, "type": "bridge", "active": 1})).collect::<Vec<_>>())
        .into()
}
