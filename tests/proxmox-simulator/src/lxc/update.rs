//! `config` and `pending`: reading and changing a configuration.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{
    CONFIG_PATIENCE,
    config::{Config, Section},
    network, rules,
};
use crate::{
    cluster::{Cluster, state::State},
    failure::Failure,
    server::call::{Answer, Call},
};

/// A configuration's values as the API shows them.
pub fn shown(cluster: &Cluster, section: &Section) -> Map<String, Value> {
    let mut object: Map<String, Value> =
        section.values.iter().map(|(key, value)| (key.clone(), typed(cluster, key, value))).collect();
    if !section.raw.is_empty() {
        object.insert("lxc".into(), json!(section.raw));
    }
    object
}

/// Integers and booleans are numbers; a fraction of a processor is a string.
fn typed(cluster: &Cluster, key: &str, value: &str) -> Value {
    let kind = cluster.api.config_property(key).and_then(|property| property.kind.as_deref());
    match (kind, value.parse::<i64>()) {
        (Some("integer" | "boolean"), Ok(number)) => json!(number),
        _ if key == "description" => json!(format!("{}\n", value.trim_end_matches('\n'))),
        _ => json!(value),
    }
}

/// `GET config`
///
/// # Errors
///
/// That there is no such container or snapshot.
pub fn read(call: &Call) -> Result<Answer, Failure> {
    let state = call.cluster.state();
    let config = &state.guest(&call.node, call.vmid())?.config;
    let section = match call.params.get("snapshot") {
        Some(name) => {
            let snapshot = config.snapshots.get(name);
            snapshot.cloned().ok_or_else(|| Failure::other(format!("snapshot '{name}' does not exist")))?
        }
        None if call.params.flag("current") => config.main.clone(),
        None => config.merged(),
    };
    let mut object = shown(&call.cluster, &section);
    object.insert("digest".into(), json!(config.digest()));
    Ok(Answer::from(Value::Object(object)))
}

/// `GET pending`
///
/// # Errors
///
/// That there is no such container.
pub fn pending(call: &Call) -> Result<Answer, Failure> {
    let state = call.cluster.state();
    let config = &state.guest(&call.node, call.vmid())?.config;
    let mut keys: BTreeMap<&str, Value> = BTreeMap::new();
    for (key, value) in &config.main.values {
        keys.insert(key, json!({"key": key, "value": typed(&call.cluster, key, value)}));
    }
    for (key, value) in config.pending.iter().filter(|(key, _)| *key != "delete") {
        keys.entry(key).or_insert_with(|| json!({"key": key}))["pending"] = typed(&call.cluster, key, value);
    }
    let deletes = config.pending_deletes();
    for key in &deletes {
        keys.entry(key).or_insert_with(|| json!({"key": key}))["delete"] = json!(1);
    }
    keys.insert("digest", json!({"key": "digest", "value": config.digest()}));
    Ok(Answer::from(Value::Array(keys.into_values().collect())))
}

/// What a call wants to change.
struct Change {
    set: BTreeMap<String, Option<String>>,
    delete: Vec<String>,
    revert: Vec<String>,
}

impl Change {
    fn of(call: &Call) -> Result<Self, Failure> {
        let list = |name: &str| -> Vec<String> {
            let text = call.text(name);
            text.split([',', ';', ' ']).filter(|key| !key.is_empty()).map(str::to_owned).collect()
        };
        let other = ["node", "vmid", "delete", "revert", "digest"];
        let set = call.params.0.iter().filter(|(key, _)| !other.contains(&key.as_str()));
        let set = set.map(|(key, value)| (key.clone(), value.clone())).collect();
        let change = Self { set, delete: list("delete"), revert: list("revert") };
        if change.set.is_empty() && change.delete.is_empty() && change.revert.is_empty() {
            return Err(Failure::other("no options specified"));
        }
        for key in change.delete.iter().chain(&change.revert) {
            if call.cluster.api.config_property(key).is_none() {
                return Err(Failure::parameter("delete", format!("unknown option '{key}'")));
            }
            if change.set.contains_key(key) {
                let words = format!("you can't use '-{key}' and -delete {key}' at the same time");
                return Err(Failure::parameter("delete", words));
            }
        }
        Ok(change)
    }

    fn allowed(&self, call: &Call, state: &State, config: &Config) -> Result<(), Failure> {
        let path = format!("/vms/{}", call.vmid());
        let set = self.set.iter().map(|(key, value)| (key, value.as_deref()));
        let all = set.chain(self.delete.iter().map(|key| (key, None)));
        for (key, value) in all {
            rules::may_change(state, &call.identity, &path, key, value, config)?;
        }
        Ok(())
    }
}

/// `PUT config`
///
/// # Errors
///
/// What is wrong with the change; part of it may be stored all the same.
pub async fn update(call: &Call) -> Result<Answer, Failure> {
    let vmid = call.vmid();
    let change = Change::of(call)?;
    {
        let state = call.cluster.state();
        let empty = Config::default();
        let config = state.guest(&call.node, vmid).map_or(&empty, |guest| &guest.config);
        change.allowed(call, &state, config)?;
        state.guest(&call.node, vmid)?;
    }
    let _lock = call.cluster.lock_config(vmid, CONFIG_PATIENCE).await.map_err(Failure::other)?;
    let runs = call.cluster.runs(vmid).await;
    let bridges = call.cluster.bridges(&call.node);
    let mut state = call.cluster.state();
    let config = &mut state.guest_mut(&call.node, vmid)?.config;
    config.check_lock().map_err(Failure::other)?;
    check_digest(call, config)?;
    check_keys(&change)?;
    for key in &change.revert {
        config.pending.remove(key);
    }
    for key in &change.delete {
        remove(config, key, runs);
    }
    let mut unknown = None;
    for (key, value) in &change.set {
        let value = rules::stored(key, value.as_deref());
        let bridge =
            network::is_card(key).then(|| network::keys(&value).get("bridge").map(|name| (*name).to_owned()));
        let bridge = bridge.flatten().filter(|bridge| !bridges.contains(bridge));
        if let Some(bridge) = bridge {
            if runs {
                config.main.values.remove(key);
                config.pending.insert(key.clone(), value);
            } else {
                config.set(key, value);
            }
            unknown = Some((key.clone(), bridge));
        } else if runs && !rules::applies_at_once(key) {
            config.pending.insert(key.clone(), value);
        } else {
            config.pending.remove(key);
            config.set(key, value);
        }
    }
    match unknown {
        Some((key, bridge)) if runs => Err(Failure::parameter(
            &key,
            format!("unable to hotplug {key}: bridge '{bridge}' does not exist\n"),
        )),
        Some((_, bridge)) => Err(Failure::other(format!("bridge '{bridge}' does not exist"))),
        None => Ok(Value::Null.into()),
    }
}

/// Refuses if the configuration has changed since it was read.
///
/// # Errors
///
/// That somebody else changed it.
pub fn check_digest(call: &Call, config: &Config) -> Result<(), Failure> {
    match call.params.get("digest") {
        Some(digest) if !digest.is_empty() && digest != config.digest() => {
            Err(Failure::other("detected modified configuration - file changed by other user? Try again."))
        }
        _ => Ok(()),
    }
}

fn check_keys(change: &Change) -> Result<(), Failure> {
    for key in &change.delete {
        if matches!(key.as_str(), "memory" | "rootfs" | "ostype") {
            return Err(Failure::other(format!("unable to delete required option '{key}'")));
        }
    }
    let mut keys = change.set.keys().chain(&change.delete);
    if keys.any(|key| key == "unprivileged") {
        return Err(Failure::other("unable to modify read-only option: 'unprivileged'"));
    }
    Ok(())
}

fn remove(config: &mut Config, key: &str, runs: bool) {
    config.pending.remove(key);
    if !runs || rules::applies_at_once(key) {
        config.main.values.remove(key);
    } else if config.get(key).is_some() {
        let mut keys = config.pending_deletes();
        if !keys.iter().any(|known| known == key) {
            keys.push(key.to_owned());
        }
        config.pending.insert("delete".into(), keys.join(","));
    }
}
