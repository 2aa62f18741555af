//! Network cards in a configuration.

use std::collections::BTreeMap;

use rand::Rng as _;

use crate::{access::Identity, cluster::state::State, containers::Nic, failure::Failure};

/// The keys of a card.
pub fn keys(value: &str) -> BTreeMap<&str, &str> {
    value.split(',').filter_map(|part| part.split_once('=')).collect()
}

/// Puts a card together as the configuration holds it: the name, then the other keys in order.
pub fn joined(keys: &BTreeMap<&str, &str>) -> String {
    let name = keys.get("name").map(|name| format!("name={name}"));
    let rest = keys.iter().filter(|(key, _)| **key != "name").map(|(key, value)| format!("{key}={value}"));
    name.into_iter().chain(rest).collect::<Vec<_>>().join(",")
}

/// Refuses a caller who may not use the card's bridge, or the VLAN on it.
///
/// # Errors
///
/// 403 with the bridge's path.
pub fn may_use(state: &State, identity: &Identity, value: &str) -> Result<(), Failure> {
    let keys = keys(value);
    let Some(bridge) = keys.get("bridge") else { return Ok(()) };
    let tag = keys.get("tag").map(|tag| format!("/{tag}")).unwrap_or_default();
    state.require(identity, &format!("/sdn/zones/localnetwork/{bridge}{tag}"), &["SDN.Use"])
}

/// A card as it is stored: with its hardware address, a new one unless it is given.
pub fn stored(value: &str) -> String {
    let fresh = fresh_hwaddr();
    let mut keys = keys(value);
    keys.entry("hwaddr").or_insert(&fresh);
    keys.entry("type").or_insert("veth");
    joined(&keys)
}

/// A card with a new hardware address.
pub fn with_fresh_hwaddr(value: &str) -> String {
    let fresh = fresh_hwaddr();
    let mut keys = keys(value);
    keys.insert("hwaddr", &fresh);
    joined(&keys)
}

fn fresh_hwaddr() -> String {
    let [a, b, c]: [u8; 3] = rand::rng().random();
    format!("BC:24:11:{a:02X}:{b:02X}:{c:02X}")
}

/// Whether the key is that of a card.
pub fn is_card(key: &str) -> bool {
    key.strip_prefix("net").is_some_and(|index| index.parse::<u8>().is_ok())
}

/// A card as containers take it.
pub fn nic(value: &str) -> Nic {
    let keys = keys(value);
    let text = |key: &str| keys.get(key).map(|value| (*value).to_owned());
    Nic {
        name: text("name").unwrap_or_default(),
        bridge: text("bridge").unwrap_or_default(),
        hwaddr: text("hwaddr").unwrap_or_default(),
        ip: text("ip"),
        gw: text("gw"),
        tag: text("tag").and_then(|tag| tag.parse().ok()),
    }
}
