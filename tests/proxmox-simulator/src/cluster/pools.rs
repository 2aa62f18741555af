//! Pools.

use serde_json::{Value, json};

use super::state::{Pool, State};
use crate::{
    failure::Failure,
    server::call::{Answer, Call},
};

fn described(state: &State, name: &str, pool: &Pool, call: &Call) -> Value {
    let guests = pool.guests.iter().filter_map(|vmid| Some((vmid, state.guests.get(vmid)?)));
    let guests = guests.map(|(vmid, guest)| {
        json!({"id": format!("lxc/{vmid}"), "type": "lxc", "vmid": vmid, "node": guest.node, "name": guest.config.hostname(*vmid)})
    });
    let storages = pool
        .storages
        .iter()
        .map(|storage| json!({"id": format!("storage/{storage}"), "type": "storage", "storage": storage}));
    let members: Vec<Value> = guests
        .chain(storages)
        .filter(|member| call.params.get("type").is_none_or(|kind| member["type"] == kind))
        .collect();
    let mut value = json!({"poolid": name, "members": members});
    if !pool.comment.is_empty() {
        value["comment"] = json!(pool.comment);
    }
    value
}

fn missing(name: &str) -> Failure {
    Failure::other(format!("pool '{name}' does not exist"))
}

/// A change of the users' file fails with the call's name in front.
fn failed(call: &str, words: impl std::fmt::Display) -> Failure {
    Failure::other(format!("{call} failed: {words}"))
}

/// `GET /pools`. Of one that is named, nobody is asked whether he may see it.
///
/// # Errors
///
/// That there is no such pool.
pub fn list(call: &Call) -> Result<Answer, Failure> {
    let state = call.cluster.state();
    if let Some(name) = call.params.get("poolid") {
        let pool = state.pools.get(name).ok_or_else(|| missing(name))?;
        return Ok(json!([described(&state, name, pool, call)]).into());
    }
    let shown = state
        .pools
        .iter()
        .filter(|(name, _)| state.may(&call.identity, &format!("/pool/{name}"), &["Pool.Audit"]));
    let shown = shown.map(|(name, pool)| match pool.comment.as_str() {
        "" => json!({"poolid": name}),
        comment => json!({"poolid": name, "comment": comment}),
    });
    Ok(json!(shown.collect::<Vec<_>>()).into())
}

/// `GET /pools/{poolid}`
///
/// # Errors
///
/// That there is no such pool.
pub fn one(call: &Call) -> Result<Answer, Failure> {
    let state = call.cluster.state();
    let name = call.text("poolid");
    let pool = state.pools.get(&name).ok_or_else(|| missing(&name))?;
    Ok(described(&state, &name, pool, call).into())
}

/// `POST /pools`
///
/// # Errors
///
/// That the pool exists.
pub fn create(call: &Call) -> Result<Answer, Failure> {
    let mut state = call.cluster.state();
    let name = call.text("poolid");
    if state.pools.contains_key(&name) {
        return Err(failed("create pool", format!("pool '{name}' already exists")));
    }
    let (parent, leaf) =
        name.rsplit_once('/').map_or((None, name.as_str()), |(parent, leaf)| (Some(parent), leaf));
    if let Some(parent) = parent.filter(|parent| !state.pools.contains_key(*parent)) {
        return Err(failed("create pool", format!("parent '{parent}' of pool '{name}' does not exist")));
    }
    if !leaf.starts_with(|first: char| first.is_ascii_alphabetic()) {
        return Err(failed("create pool", "pool name must start with a letter"));
    }
    state.pools.insert(name, Pool { comment: call.text("comment"), ..Pool::default() });
    Ok(Value::Null.into())
}

/// `DELETE /pools`
///
/// # Errors
///
/// That there is no such pool, or that it has members.
pub fn remove(call: &Call) -> Result<Answer, Failure> {
    let mut state = call.cluster.state();
    let name = call.text("poolid");
    let pool = state.pools.get(&name).ok_or_else(|| failed("delete pool", missing(&name).message))?;
    let inner = state.pools.keys().find(|other| other.starts_with(&format!("{name}/")));
    let guest = pool.guests.iter().find(|vmid| state.guests.contains_key(vmid));
    let content = inner
        .map(|pool| format!("pool '{pool}'"))
        .or_else(|| guest.map(|vmid| format!("VM {vmid}")))
        .or_else(|| pool.storages.first().map(|storage| format!("storage '{storage}'")));
    if let Some(content) = content {
        return Err(failed("delete pool", format!("pool '{name}' is not empty (contains {content})")));
    }
    state.pools.remove(&name);
    Ok(Value::Null.into())
}

/// `PUT /pools`: changes members and the comment.
///
/// # Errors
///
/// What can not be a member, or is none.
pub fn update(call: &Call) -> Result<Answer, Failure> {
    let mut state = call.cluster.state();
    let name = call.text("poolid");
    let refused = |words: String| failed("update pools", words);
    let mut pool = state.pools.get(&name).ok_or_else(|| refused(missing(&name).message))?.clone();
    let list = |key: &str| -> Vec<String> {
        call.text(key).split([',', ';', ' ']).filter(|item| !item.is_empty()).map(str::to_owned).collect()
    };
    let delete = call.params.flag("delete");
    for vmid in list("vms").iter().filter_map(|text| text.parse::<u32>().ok()) {
        state.require(&call.identity, &format!("/vms/{vmid}"), &["Permissions.Modify"])?;
        if delete {
            if !pool.guests.remove(&vmid) {
                return Err(refused(format!("VM {vmid} is not a pool member")));
            }
            continue;
        }
        match state.pool_of(vmid).map(str::to_owned) {
            Some(other) if other == name => {
                return Err(refused(format!("VM {vmid} is already a pool member")));
            }
            Some(other) if !call.params.flag("allow-move") => {
                return Err(refused(format!(
                    "VM {vmid} belongs already to pool '{other}' and 'allow-move' is not set"
                )));
            }
            Some(other) => drop(state.pools.get_mut(&other).map(|pool| pool.guests.remove(&vmid))),
            None => {}
        }
        pool.guests.insert(vmid);
    }
    for storage in list("storage") {
        state.require(&call.identity, &format!("/storage/{storage}"), &["Permissions.Modify"])?;
        if delete {
            pool.storages.remove(&storage)
        } else {
            pool.storages.insert(storage)
        };
    }
    if let Some(comment) = call.params.get("comment") {
        pool.comment = comment.to_owned();
    }
    state.pools.insert(name, pool);
    Ok(Value::Null.into())
}
