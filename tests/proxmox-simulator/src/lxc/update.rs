//! `config` and `pending`: reading and changing a configuration.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::{
    CONFIG_PATIENCE,
    config::{Config, Section},
    network,
    rules::{self, Asked},
};
use crate::{
    cluster::Cluster,
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
    if call.params.get("snapshot").is_some() && call.params.flag("current") {
        let words = "cannot use 'snapshot' parameter with 'current'".to_owned();
        let both = ["snapshot", "current"].map(|name| (name.to_owned(), words.clone()));
        return Err(Failure::parameters(both.into()));
    }
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
        if call.params.0.keys().all(|key| matches!(key.as_str(), "node" | "vmid" | "digest")) {
            return Err(Failure::other("no options specified"));
        }
        let other = ["node", "vmid", "delete", "revert", "digest"];
        let set = call.params.0.iter().filter(|(key, _)| !other.contains(&key.as_str()));
        let set = set.map(|(key, value)| (key.clone(), value.clone())).collect();
        Ok(Self { set, delete: list("delete"), revert: list("revert") })
    }

    /// Refuses what the caller may not, or what makes no sense. Nothing is changed yet.
    fn check(&self, call: &Call, asked: &Asked<'_>) -> Result<(), Failure> {
        for key in self.delete.iter().chain(&self.revert) {
            asked.may_change(key, None)?;
        }
        let known = |key: &str| call.cluster.api.config_property(key).is_some();
        let refused = |name: &str, words: String| Err(Failure::parameter(name, words));
        for key in &self.revert {
            if !known(key) {
                return refused("revert", format!("unknown option '{key}'"));
            }
            if self.set.contains_key(key) {
                return refused(
                    "revert",
                    format!("you can't use '-{key}' and '-revert {key}' at the same time"),
                );
            }
        }
        for key in &self.delete {
            if !known(key) {
                return refused("delete", format!("unknown option '{key}'"));
            }
            if self.set.contains_key(key) {
                return refused(
                    "delete",
                    format!("you can't use '-{key}' and -delete {key}' at the same time"),
                );
            }
            if self.revert.contains(key) {
                return refused(
                    "delete",
                    format!("you can't use '-delete {key}' and '-revert {key}' at the same time"),
                );
            }
        }
        self.set.iter().try_for_each(|(key, value)| asked.may_change(key, value.as_deref()))
    }

    /// Refuses keys that can not be changed. Nothing is changed yet.
    fn check_keys(&self, config: &Config) -> Result<(), Failure> {
        let is_there = |key: &&String| config.get(key).is_some() || config.pending.contains_key(*key);
        for key in self.delete.iter().filter(is_there) {
            match key.as_str() {
                "memory" | "rootfs" | "ostype" => {
                    return Err(Failure::other(format!("unable to delete required option '{key}'")));
                }
                "unprivileged" => {
                    return Err(Failure::other(format!("unable to delete read-only option: '{key}'")));
                }
                _ => {}
            }
        }
        match self.set.contains_key("unprivileged") {
            true => Err(Failure::other("unable to modify read-only option: 'unprivileged'")),
            false => Ok(()),
        }
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
    let _lock = call.cluster.lock_config(vmid, CONFIG_PATIENCE).await.map_err(Failure::other)?;
    let runs = call.cluster.runs(vmid).await;
    let bridges = call.cluster.bridges(&call.node);
    let mut state = call.cluster.state();
    let config = state.guest(&call.node, vmid)?.config.clone();
    config.check_lock().map_err(Failure::other)?;
    check_digest(call, &config)?;
    let unprivileged = config.flag("unprivileged");
    let asked = Asked {
        state: &state,
        identity: &call.identity,
        vmid,
        pool: None,
        config: Some(&config),
        unprivileged,
    };
    change.check(call, &asked)?;
    change.check_keys(&config)?;
    let mut config = config;
    for key in &change.revert {
        config.pending.remove(key);
        config.keep(key);
    }
    let set = change.set.iter().map(|(key, value)| (key.clone(), rules::stored(key, value.as_deref())));
    let set: BTreeMap<String, String> = set.collect();
    let (stored, answer) = match runs {
        true => hotplug(config, &change.delete, &set, &bridges),
        false => apply(config, &change.delete, &set, &bridges),
    };
    state.guest_mut(&call.node, vmid)?.config = stored;
    answer
}

/// The bridge of a card that is not there.
fn unknown_bridge(key: &str, value: &str, bridges: &BTreeSet<String>) -> Option<String> {
    let bridge = network::keys(value).get("bridge").map(|name| (*name).to_owned());
    bridge.filter(|bridge| network::is_card(key) && !bridges.contains(bridge))
}

/// Changes a stopped container's configuration. What can not be used is only seen when all of it is
/// stored.
fn apply(
    mut config: Config,
    delete: &[String],
    set: &BTreeMap<String, String>,
    bridges: &BTreeSet<String>,
) -> (Config, Result<Answer, Failure>) {
    for key in delete {
        config.pending.remove(key);
        config.main.values.remove(key);
    }
    for (key, value) in set {
        config.pending.remove(key);
        config.set(key, value);
    }
    // Nobody starts a template, so nobody looks for its bridges.
    let cards = config.main.values.iter().filter(|_| !config.flag("template"));
    let unknown = cards.into_iter().find_map(|(key, value)| unknown_bridge(key, value, bridges));
    let answer = match unknown {
        Some(bridge) => Err(Failure::other(format!("bridge '{bridge}' does not exist"))),
        None => Ok(Value::Null.into()),
    };
    (config, answer)
}

/// Changes a running container and its configuration. A card that fails has lost its predecessor when
/// it has another hardware address: then all that went before is stored, and the rest is pending.
/// Otherwise the predecessor is put back, and nothing is stored.
fn hotplug(
    before: Config,
    delete: &[String],
    set: &BTreeMap<String, String>,
    bridges: &BTreeSet<String>,
) -> (Config, Result<Answer, Failure>) {
    let mut config = before.clone();
    for key in delete {
        config.pending.remove(key);
        if rules::can_be_removed_now(key) {
            config.main.values.remove(key);
        } else if config.get(key).is_some() {
            config.remove_later(key);
        }
    }
    config.pending.extend(set.iter().map(|(key, value)| (key.clone(), value.clone())));
    set.keys().for_each(|key| config.keep(key));
    let mut keys: Vec<&String> = set.keys().collect();
    keys.sort_by_key(|key| (!rules::is_written_only(key), (*key).clone()));
    for key in keys {
        let value = set.get(key).cloned().unwrap_or_default();
        if let Some(bridge) = unknown_bridge(key, &value, bridges) {
            let words = format!("unable to hotplug {key}: bridge '{bridge}' does not exist\n");
            let refused = Err(Failure::parameter(key, words));
            let (old, new) = (config.get(key).map(network::keys), network::keys(&value));
            let same =
                old.is_some_and(|old| ["hwaddr", "name"].iter().all(|name| old.get(name) == new.get(name)));
            if same {
                return (before, refused);
            }
            config.main.values.remove(key);
            return (config, refused);
        }
        if rules::can_be_set_now(key, config.get(key).is_some()) {
            config.pending.remove(key);
            config.set(key, value);
        }
    }
    (config, Ok(Value::Null.into()))
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
