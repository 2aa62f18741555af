//! Reading storages.

use serde_json::{Value, json};

use super::state::State;
use crate::{
    failure::Failure,
    lxc::volumes,
    server::call::{Answer, Call},
    settings::Storage,
};

fn described(state: &State, name: &str, storage: &Storage) -> Value {
    let rootfs = state.guests.values().filter_map(|guest| guest.config.get("rootfs"));
    let own = rootfs.filter(|value| volumes::storage(volumes::volume(value)) == Some(name));
    let used: u64 = own.filter_map(volumes::size_of).sum();
    json!({
        "storage": name, "type": storage.kind, "active": 1, "enabled": 1, "shared": u8::from(storage.shared),
        "content": storage.content.iter().cloned().collect::<Vec<_>>().join(","),
        "total": storage.total, "used": used, "avail": storage.total.saturating_sub(used),
    })
}

/// `GET /nodes/{node}/storage`: those that the caller may see.
///
/// # Errors
///
/// That the asked storage does not exist.
pub fn list(call: &Call) -> Result<Answer, Failure> {
    let state = call.cluster.state();
    if call.params.get("storage").is_some_and(|name| !state.storages.contains_key(name)) {
        return Err(Failure::parameter("storage", "No such storage."));
    }
    let wanted =
        call.params.get("content").map(|text| text.split(',').map(str::to_owned).collect::<Vec<_>>());
    let shown = state.storages.iter().filter(|(name, storage)| {
        storage.is_on(&call.node)
            && call.params.get("storage").is_none_or(|wanted| wanted == name.as_str())
            && call.params.get("target").is_none_or(|target| storage.shared && storage.is_on(target))
            && wanted.as_ref().is_none_or(|wanted| wanted.iter().any(|kind| storage.content.contains(kind)))
            && state.may(
                &call.identity,
                &format!("/storage/{name}"),
                &["Datastore.Audit", "Datastore.AllocateSpace"],
            )
    });
    Ok(json!(shown.map(|(name, storage)| described(&state, name, storage)).collect::<Vec<_>>()).into())
}

fn asked<'a>(call: &Call, state: &'a State) -> Result<(String, &'a Storage), Failure> {
    let name = call.text("storage");
    let storage = state.storages.get(&name).filter(|storage| storage.is_on(&call.node));
    storage
        .map(|storage| (name.clone(), storage))
        .ok_or_else(|| Failure::other(format!("storage '{name}' does not exist")))
}

/// `GET /nodes/{node}/storage/{storage}/status`
///
/// # Errors
///
/// That there is no such storage.
pub fn status(call: &Call) -> Result<Answer, Failure> {
    let state = call.cluster.state();
    let (name, storage) = asked(call, &state)?;
    Ok(described(&state, &name, storage).into())
}

/// `GET /nodes/{node}/storage/{storage}/content`
///
/// # Errors
///
/// That there is no such storage.
pub fn content(call: &Call) -> Result<Answer, Failure> {
    let state = call.cluster.state();
    let (name, storage) = asked(call, &state)?;
    let wanted = call.params.get("content");
    let mut all = Vec::new();
    if wanted.is_none_or(|wanted| wanted == "vztmpl") && call.params.get("vmid").is_none() {
        all.extend(storage.templates.iter().map(|file| {
            json!({"volid": format!("{name}:vztmpl/{file}"), "content": "vztmpl", "format": "tzst", "size": 120 << 20})
        }));
    }
    if wanted.is_none_or(|wanted| wanted == "rootdir") {
        let asked: Option<u32> = call.params.number("vmid");
        for (vmid, guest) in state.guests.iter().filter(|(vmid, _)| asked.is_none_or(|asked| asked == **vmid))
        {
            if let Some(rootfs) = guest.config.get("rootfs")
                && volumes::storage(volumes::volume(rootfs)) == Some(&name)
            {
                all.push(json!({
                    "volid": volumes::volume(rootfs), "content": "rootdir", "format": "raw", "vmid": vmid,
                    "size": volumes::size_of(rootfs).unwrap_or_default(),
                }));
            }
        }
    }
    Ok(json!(all).into())
}
