//! Who may change which key of a configuration, and how values are stored.

use std::collections::{BTreeMap, BTreeSet};

use super::{config::Config, network, volumes};
use crate::{access::Identity, cluster::state::State, failure::Failure};

/// Who changes a container's configuration, and which container's.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// The cluster.
    pub state: &'a State,
    /// The caller.
    pub identity: &'a Identity,
    /// The container.
    pub vmid: u32,
    /// The pool that it is to be made in.
    pub pool: Option<&'a str>,
    /// What is there before; none while it is being made.
    pub config: Option<&'a Config>,
    /// Whether it is unprivileged.
    pub unprivileged: bool,
}

impl Asked<'_> {
    /// Refuses a caller without a privilege on the container or the pool.
    fn require(&self, privilege: &str) -> Result<(), Failure> {
        let Self { state, identity, vmid, pool, .. } = self;
        let by_pool = pool.is_some_and(|pool| state.may(identity, &format!("/pool/{pool}"), &[privilege]));
        if by_pool { Ok(()) } else { state.require(identity, &format!("/vms/{vmid}"), &[privilege]) }
    }

    fn present(&self, key: &str) -> Option<&str> {
        self.config.and_then(|config| config.get(key))
    }

    /// Refuses a caller who may not set or remove a key.
    ///
    /// # Errors
    ///
    /// 403 with the missing privilege or the rule.
    pub fn may_change(&self, key: &str, value: Option<&str>) -> Result<(), Failure> {
        if self.identity.is_root() {
            return Ok(());
        }
        let only_root = |words: &str| Err(Failure::denied(&format!("{words} is only allowed for root@pam")));
        let stem = key.trim_end_matches(|character: char| character.is_ascii_digit());
        match stem {
            "cores" | "cpulimit" | "cpuunits" => self.require("VM.Config.CPU"),
            "memory" | "swap" => self.require("VM.Config.Memory"),
            "net" => {
                self.require("VM.Config.Network")?;
                let cards = [self.present(key), value].into_iter().flatten();
                cards.into_iter().try_for_each(|card| network::may_use(self.state, self.identity, card))
            }
            "hostname" | "nameserver" | "searchdomain" => self.require("VM.Config.Network"),
            "rootfs" | "mp" => {
                self.require("VM.Config.Disk")?;
                match value.map(volumes::volume) {
                    Some(volume) if volume.starts_with("/dev/") => only_root("mount point type device"),
                    Some(volume) if volume.starts_with('/') => only_root("mount point type bind"),
                    _ => Ok(()),
                }
            }
            "dev" => only_root("configuring device passthrough"),
            "hookscript" => only_root("changing the hookscript"),
            "features" => self.may_change_features(value),
            "tags" => self.may_change_tags(value.unwrap_or_default()),
            _ => self.require("VM.Config.Options"),
        }
    }

    fn may_change_features(&self, value: Option<&str>) -> Result<(), Failure> {
        let only_root = |words: &str| Err(Failure::denied(&format!("{words} is only allowed for root@pam")));
        if !self.unprivileged {
            return only_root("changing feature flags for privileged container");
        }
        let (mut old, mut new) = (features(self.present("features")), features(value));
        // Without features before, any value of `nesting` is a change.
        let nesting = match (old.remove("nesting"), new.remove("nesting")) {
            (None, new) if old.is_empty() => new.is_some(),
            (old, new) => old != new,
        };
        if old != new {
            return only_root("changing feature flags (except nesting)");
        }
        if nesting { self.require("VM.Allocate") } else { Ok(()) }
    }

    fn may_change_tags(&self, value: &str) -> Result<(), Failure> {
        let Self { state, identity, vmid, .. } = self;
        // No pool counts here.
        state.require(identity, &format!("/vms/{vmid}"), &["VM.Config.Options"])?;
        let (old, new) = (tags(self.present("tags").unwrap_or_default()), tags(value));
        let registered = old.symmetric_difference(&new).find(|tag| state.registered_tags.contains(*tag));
        match registered.filter(|_| !state.may(identity, "/", &["Sys.Modify"])) {
            Some(tag) => Err(Failure::denied(&format!("/, Sys.Modify for modifying tag '{tag}'"))),
            None => Ok(()),
        }
    }
}

fn features(text: Option<&str>) -> BTreeMap<String, String> {
    let pairs = network::keys(text.unwrap_or_default());
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// Tags as a set, in lower case.
pub fn tags(text: &str) -> BTreeSet<String> {
    split_list(text).map(str::to_lowercase).collect()
}

fn split_list(text: &str) -> impl Iterator<Item = &str> {
    text.split([';', ',', ' ', '\0']).filter(|item| !item.is_empty())
}

/// A value as it is stored. A `null` and an empty list are a space.
pub fn stored(key: &str, value: Option<&str>) -> String {
    let Some(value) = value.filter(|value| !value.is_empty()) else { return " ".into() };
    match key {
        "nameserver" | "searchdomain" => split_list(value).collect::<Vec<_>>().join(" "),
        "tags" => tags(value).into_iter().collect::<Vec<_>>().join(";"),
        key if network::is_card(key) => network::stored(value),
        _ => value.to_owned(),
    }
}

/// Keys that are only written down: they apply to a running container before all others.
pub fn is_written_only(key: &str) -> bool {
    let known =
        ["cores", "description", "hookscript", "hostname", "lock", "onboot", "protection", "startup", "tags"];
    known.contains(&key)
}

/// Whether setting a key can be applied to a running container. A mount point or a device can be
/// added, and not changed.
pub fn can_be_set_now(key: &str, is_set: bool) -> bool {
    let stem = key.trim_end_matches(|character: char| character.is_ascii_digit());
    match stem {
        "cpulimit" | "cpuunits" | "memory" | "swap" => true,
        "dev" | "mp" => !is_set,
        _ => network::is_card(key) || is_written_only(key),
    }
}

/// Whether removing a key can be applied to a running container.
pub fn can_be_removed_now(key: &str) -> bool {
    let one_digit = key.strip_prefix("net").is_some_and(|index| index.len() == 1);
    matches!(key, "cpulimit" | "cpuunits" | "swap")
        || one_digit
        || key.starts_with("unused")
        || is_written_only(key)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::card("net0", true, true, true)]
    #[case::memory("memory", true, true, false)]
    #[case::swap("swap", true, true, true)]
    #[case::tags("tags", true, true, true)]
    #[case::cores("cores", true, true, true)]
    #[case::new_device("dev0", false, true, false)]
    #[case::changed_device("dev0", true, false, false)]
    #[case::new_mount("mp3", false, true, false)]
    #[case::changed_mount("mp3", true, false, false)]
    #[case::features("features", true, false, false)]
    #[case::template("template", false, false, false)]
    #[case::nameserver("nameserver", false, false, false)]
    fn what_a_running_container_takes(
        #[case] key: &str,
        #[case] is_set: bool,
        #[case] set: bool,
        #[case] removed: bool,
    ) {
        assert_eq!((can_be_set_now(key, is_set), can_be_removed_now(key)), (set, removed));
    }
}
