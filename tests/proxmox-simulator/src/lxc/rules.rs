//! Who may change which key of a configuration, and how values are stored.

use std::collections::{BTreeMap, BTreeSet};

use super::{config::Config, network, volumes};
use crate::{access::Identity, cluster::state::State, failure::Failure};

/// Refuses a caller who may not set or remove a key. `config` is what is there before.
///
/// # Errors
///
/// 403 with the missing privilege or the rule.
pub fn may_change(
    state: &State,
    identity: &Identity,
    path: &str,
    key: &str,
    value: Option<&str>,
    config: &Config,
) -> Result<(), Failure> {
    let only_root = |words: &str| {
        if identity.is_root() {
            Ok(())
        } else {
            Err(Failure::denied(&format!("{words} is only allowed for root@pam")))
        }
    };
    let stem = key.trim_end_matches(|character: char| character.is_ascii_digit());
    let privilege = match stem {
        "cores" | "cpulimit" | "cpuunits" => "VM.Config.CPU",
        "memory" | "swap" => "VM.Config.Memory",
        "net" => {
            state.require(identity, path, &["VM.Config.Network"])?;
            let cards = [config.get(key), value].into_iter().flatten();
            return cards.into_iter().try_for_each(|card| network::may_use(state, identity, card));
        }
        "hostname" | "nameserver" | "searchdomain" => "VM.Config.Network",
        "rootfs" | "mp" | "unused" => {
            if value.is_some_and(|value| volumes::volume(value).starts_with('/')) {
                let kind = if volumes::volume(value.unwrap_or_default()).starts_with("/dev/") {
                    "device"
                } else {
                    "bind"
                };
                only_root(&format!("mount point type {kind}"))?;
            }
            "VM.Config.Disk"
        }
        "dev" => return only_root("configuring device passthrough"),
        "hookscript" => return only_root("changing the hookscript"),
        "features" => return features(state, identity, path, value.unwrap_or_default(), config),
        "tags" => {
            let (old, new) = (tags(config.get("tags").unwrap_or_default()), tags(value.unwrap_or_default()));
            if old.symmetric_difference(&new).any(|tag| state.registered_tags.contains(tag)) {
                state.require(identity, "/", &["Sys.Modify"])?;
            }
            "VM.Config.Options"
        }
        _ => "VM.Config.Options",
    };
    state.require(identity, path, &[privilege])
}

fn features(
    state: &State,
    identity: &Identity,
    path: &str,
    value: &str,
    config: &Config,
) -> Result<(), Failure> {
    let parse = |text: &str| -> BTreeMap<String, String> {
        network::keys(text).into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    };
    let (mut old, mut new) = (parse(config.get("features").unwrap_or_default()), parse(value));
    let nesting = old.remove("nesting") != new.remove("nesting");
    if old != new && !identity.is_root() {
        return Err(Failure::denied("changing feature flags (except nesting) is only allowed for root@pam"));
    }
    if nesting && !config.flag("unprivileged") && !identity.is_root() {
        return Err(Failure::denied(
            "changing feature flags for privileged container is only allowed for root@pam",
        ));
    }
    if nesting {
        state.require(identity, path, &["VM.Allocate"])?;
    }
    state.require(identity, path, &["VM.Config.Options"])
}

/// Tags as a set, in lower case.
pub fn tags(text: &str) -> BTreeSet<String> {
    text.split([';', ',', ' ', '\0']).filter(|tag| !tag.is_empty()).map(str::to_lowercase).collect()
}

/// A value as it is stored. A `null` and an empty list are a space.
pub fn stored(key: &str, value: Option<&str>) -> String {
    let Some(value) = value.filter(|value| !value.is_empty()) else { return " ".into() };
    match key {
        "tags" => tags(value).into_iter().collect::<Vec<_>>().join(";"),
        key if network::is_card(key) => network::stored(value),
        _ => value.to_owned(),
    }
}

/// Whether a change applies to a running container at once.
pub fn applies_at_once(key: &str) -> bool {
    let known = [
        "cores",
        "memory",
        "swap",
        "cpulimit",
        "cpuunits",
        "hostname",
        "tags",
        "onboot",
        "startup",
        "protection",
        "description",
        "lock",
        "template",
        "hookscript",
    ];
    known.contains(&key) || network::is_card(key)
}
