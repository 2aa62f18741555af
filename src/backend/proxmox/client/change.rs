//! A change to the configuration of a container.
//!
//! Only what is here can be sent. A node checks neither `rootfs` nor `lock`, `template` and
//! `arch`, and each of them can break a container: so there is no way to send them.

use std::{collections::BTreeMap, net::IpAddr};

use super::{Hostname, NetworkInterface, Tags, configuration::Features};

/// What is done with one key.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Setting<T> {
    /// It stays as it is.
    #[default]
    Keep,
    /// It gets this value.
    Set(T),
    /// It is removed.
    Unset,
}

/// A change to the configuration of a container. What is not named stays as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Change {
    /// Host name.
    pub hostname: Option<Hostname>,
    /// Description, up to 8192 bytes. An empty one is removed.
    pub description: Option<String>,
    /// All tags. Without any, the key is removed.
    pub tags: Option<Tags>,
    /// Processors, 1 to 8192.
    pub cores: Setting<u32>,
    /// Share of processors, in whole ones.
    pub cpu_limit: Setting<f64>,
    /// Weight against other containers.
    pub cpu_units: Setting<u32>,
    /// Memory in MiB, 16 or more.
    pub memory: Option<u64>,
    /// Swap in MiB.
    pub swap: Option<u64>,
    /// Whether it starts with the node.
    pub on_boot: Option<bool>,
    /// Whether it is protected from removal.
    pub protection: Option<bool>,
    /// DNS servers. Without any, those of the node.
    pub nameservers: Option<Vec<IpAddr>>,
    /// DNS search domain.
    pub search_domain: Setting<Hostname>,
    /// What the guest may do beyond the usual. Takes effect at the next start.
    pub features: Option<Features>,
    /// Network interfaces by number, 0 to 31. Without a hardware address each write makes a new
    /// one: see [`NetworkInterface::in_place_of`].
    pub networks: BTreeMap<u16, Setting<NetworkInterface>>,
}

/// The keys of a change.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) struct Keys {
    pub(super) set: Vec<(String, String)>,
    pub(super) unset: Vec<String>,
}

const LONGEST_DESCRIPTION: usize = 8192;
const MOST_CORES: u32 = 8192;
const LEAST_MEMORY: u64 = 16;
const LAST_NETWORK: u16 = 31;

impl Change {
    /// The keys to send, or what is wrong with a value.
    pub(super) fn keys(&self) -> Result<Keys, String> {
        self.validate()?;
        // Named one by one, so that a new field is not forgotten.
        let Self {
            hostname,
            description,
            tags,
            cores,
            cpu_limit,
            cpu_units,
            memory,
            swap,
            on_boot,
            protection,
            nameservers,
            search_domain,
            features,
            networks,
        } = self;
        let mut keys = Keys::default();
        keys.text("hostname", hostname.as_ref());
        keys.text("description", description.as_ref());
        keys.text("tags", tags.as_ref());
        keys.setting("cores", cores);
        keys.setting("cpulimit", cpu_limit);
        keys.setting("cpuunits", cpu_units);
        keys.text("memory", memory.as_ref());
        keys.text("swap", swap.as_ref());
        keys.text("onboot", on_boot.map(u8::from).as_ref());
        keys.text("protection", protection.map(u8::from).as_ref());
        let nameservers =
            nameservers.as_ref().map(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "));
        keys.text("nameserver", nameservers.as_ref());
        keys.setting("searchdomain", search_domain);
        keys.text("features", features.as_ref());
        for (number, network) in networks {
            keys.setting(&format!("net{number}"), network);
        }
        Ok(keys)
    }

    /// Whether it does the same when it is made twice. An interface without a hardware address
    /// gets another one each time.
    pub(super) fn is_repeatable(&self) -> bool {
        !self
            .networks
            .values()
            .any(|network| matches!(network, Setting::Set(network) if network.hwaddr.is_none()))
    }

    fn validate(&self) -> Result<(), String> {
        if self.description.as_ref().is_some_and(|text| text.len() > LONGEST_DESCRIPTION) {
            return Err(format!("description: {LONGEST_DESCRIPTION} bytes at most"));
        }
        if matches!(self.cores, Setting::Set(cores) if !(1..=MOST_CORES).contains(&cores)) {
            return Err(format!("cores: 1 to {MOST_CORES}"));
        }
        if matches!(self.cpu_limit, Setting::Set(limit) if !(0.0..=f64::from(MOST_CORES)).contains(&limit)) {
            return Err(format!("cpulimit: 0 to {MOST_CORES}"));
        }
        if self.memory.is_some_and(|memory| memory < LEAST_MEMORY) {
            return Err(format!("memory: {LEAST_MEMORY} MiB or more"));
        }
        for (number, network) in &self.networks {
            if *number > LAST_NETWORK {
                return Err(format!("net{number}: 0 to {LAST_NETWORK}"));
            }
            if let Setting::Set(network) = network {
                network.validate().map_err(|error| format!("net{number}: {error}"))?;
            }
        }
        Ok(())
    }
}

impl Keys {
    /// A value, or the removal of the key when it is empty: stored, it would become a blank.
    fn text(&mut self, key: &str, value: Option<&impl ToString>) {
        match value.map(ToString::to_string) {
            None => {}
            Some(text) if text.trim().is_empty() => self.unset.push(key.to_owned()),
            Some(text) => self.set.push((key.to_owned(), text)),
        }
    }

    fn setting(&mut self, key: &str, setting: &Setting<impl ToString>) {
        match setting {
            Setting::Keep => {}
            Setting::Set(value) => self.text(key, Some(value)),
            Setting::Unset => self.unset.push(key.to_owned()),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.set.is_empty() && self.unset.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn network(text: &str) -> Setting<NetworkInterface> {
        Setting::Set(text.parse().unwrap())
    }

    #[test]
    fn nothing_is_sent_that_does_not_change() {
        assert!(Change::default().keys().unwrap().is_empty());
    }

    #[test]
    fn every_value_has_its_key() {
        let change = Change {
            hostname: "ws-1".parse().ok(),
            description: Some("one\ntwo".into()),
            tags: Some(Tags::read("b a")),
            cores: Setting::Set(2),
            cpu_limit: Setting::Set(1.5),
            cpu_units: Setting::Unset,
            memory: Some(2048),
            swap: Some(0),
            on_boot: Some(true),
            protection: Some(false),
            nameservers: Some(vec![[10, 0, 0, 1].into(), [10, 0, 0, 2].into()]),
            search_domain: Setting::Set("example.org".parse().unwrap()),
            features: Some(Features { nesting: true, ..Features::default() }),
            networks: [(0, network("name=eth0,ip=dhcp")), (1, Setting::Unset)].into(),
        };
        let keys = change.keys().unwrap();
        let set = keys.set.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>();
        assert_eq!(
            set,
            [
                "hostname=ws-1",
                "description=one\ntwo",
                "tags=a;b",
                "cores=2",
                "cpulimit=1.5",
                "memory=2048",
                "swap=0",
                "onboot=1",
                "protection=0",
                "nameserver=10.0.0.1 10.0.0.2",
                "searchdomain=example.org",
                "features=nesting=1",
                "net0=name=eth0,ip=dhcp",
            ]
        );
        assert_eq!(keys.unset, ["cpuunits", "net1"]);
    }

    #[test]
    fn an_empty_value_removes_the_key() {
        let change = Change {
            description: Some(" ".into()),
            tags: Some(Tags::default()),
            nameservers: Some(Vec::new()),
            features: Some(Features::default()),
            ..Change::default()
        };
        let keys = change.keys().unwrap();
        assert_eq!(keys.set, []);
        assert_eq!(keys.unset, ["description", "tags", "nameserver", "features"]);
    }

    #[rstest]
    #[case::long_description(Change { description: Some("x".repeat(8193)), ..Change::default() })]
    #[case::no_cores(Change { cores: Setting::Set(0), ..Change::default() })]
    #[case::little_memory(Change { memory: Some(15), ..Change::default() })]
    #[case::no_limit(Change { cpu_limit: Setting::Set(f64::NAN), ..Change::default() })]
    #[case::gateway(Change { networks: [(0, network("name=eth0,gw=10.0.0.1"))].into(), ..Change::default() })]
    #[case::number(Change { networks: [(32, Setting::Unset)].into(), ..Change::default() })]
    fn what_no_node_takes_is_not_sent(#[case] change: Change) {
        assert!(change.keys().is_err());
    }

    #[rstest]
    #[case("name=eth0,ip=dhcp", false)]
    #[case("name=eth0,ip=dhcp,hwaddr=02:00:00:00:00:01", true)]
    fn a_new_hardware_address_makes_it_unrepeatable(#[case] value: &str, #[case] repeatable: bool) {
        let change = Change { networks: [(0, network(value))].into(), ..Change::default() };
        assert_eq!(change.is_repeatable(), repeatable);
    }
}
