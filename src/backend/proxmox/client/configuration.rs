//! The configuration of a container, as it is read.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::{
    Lock, NetworkInterface, Tags,
    network::InvalidInterface,
    pairs::{is_plain, pairs},
    wire,
};

/// The configuration of a container. Keys that Berth has no use for are left out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Configuration {
    /// Changes with every change; a write can be made to depend on it.
    pub digest: Digest,
    /// Host name.
    pub hostname: Option<String>,
    /// Description, without the line feed that every stored one ends in.
    pub description: String,
    /// Tags.
    pub tags: Tags,
    /// Processors; nothing means all of the node.
    pub cores: Option<u32>,
    /// Share of processors, in whole ones.
    pub cpu_limit: Option<f64>,
    /// Memory in MiB.
    pub memory: Option<u64>,
    /// Swap in MiB.
    pub swap: Option<u64>,
    /// The root file system. A clone has none until it is copied.
    pub rootfs: Option<Volume>,
    /// More file systems, by number.
    pub mount_points: BTreeMap<u16, Volume>,
    /// The network interfaces by number, as they are stored.
    pub networks: BTreeMap<u16, String>,
    /// Devices of the node that the guest sees, by number.
    pub devices: BTreeMap<u16, Device>,
    /// What the guest may do beyond the usual.
    pub features: Features,
    /// The operation that holds the container, or held it when it died.
    pub lock: Option<Lock>,
    /// Whether it is a template.
    pub template: bool,
    /// Whether its root is not the node's root.
    pub unprivileged: bool,
    /// Whether it starts with the node.
    pub on_boot: bool,
    /// Whether it is protected from removal.
    pub protection: bool,
    /// Addresses of DNS servers, divided by blanks. Nothing: those of the node.
    pub nameserver: Option<String>,
    /// DNS search domains.
    pub search_domain: Option<String>,
    /// The kind of system inside, as `debian`.
    pub os_type: Option<String>,
    /// Lines for LXC itself, which the API shows and can not set.
    pub raw: Vec<(String, String)>,
}

impl Configuration {
    /// A network interface, if there is one of this number.
    pub fn network(&self, number: u16) -> Option<Result<NetworkInterface, InvalidInterface>> {
        self.networks.get(&number).map(|stored| stored.parse())
    }

    /// Whether the guest sees a device of the node, as `/dev/net/tun`: by an entry for the device
    /// or by a raw mount.
    pub fn has_device(&self, path: &str) -> bool {
        let by_entry = self.devices.values().any(|device| device.path == path);
        let by_mount = self
            .raw
            .iter()
            .any(|(key, value)| key == "lxc.mount.entry" && value.split_whitespace().next() == Some(path));
        by_entry || by_mount
    }

    /// Whether it has been begun and nothing is said of it yet: a new container has only its lock
    /// until its archive is unpacked, and a clone for an instant.
    pub fn is_only_begun(&self) -> bool {
        self.lock == Some(Lock::Create) && self.hostname.is_none() && self.description.is_empty()
    }
}

/// Stands for one state of a configuration.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Digest(String);

impl Digest {
    /// The digest as it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A file system of a container.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Volume {
    /// The volume, as `local-lvm:vm-105-disk-0`; of a bind mount a path.
    pub volume: String,
    /// Size in bytes, as far as it is stored.
    pub size: Option<u64>,
    /// Everything else, as `mp` and `ro`.
    pub other: BTreeMap<String, String>,
}

/// A device of the node that a guest sees.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Device {
    /// Its path on the node.
    pub path: String,
    /// `mode`, `uid`, `gid`, `deny-write`.
    pub other: BTreeMap<String, String>,
}

/// What a guest may do beyond the usual.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Features {
    /// Containers inside the container; systemd needs it from version 242 on.
    pub nesting: bool,
    /// The others, which only the real `root@pam` may change. Sent back unchanged they pass.
    pub other: BTreeMap<String, String>,
}

impl Features {
    /// Reads the stored value.
    pub fn read(text: &str) -> Self {
        let mut other = keyed(text, None).1;
        let nesting = other.remove("nesting").is_some_and(|value| value == "1");
        Self { nesting, other }
    }
}

impl std::fmt::Display for Features {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let nesting = self.nesting.then(|| "nesting=1".to_owned());
        let clean = self.other.iter().filter(|(key, value)| is_plain(key) && is_plain(value));
        let other = clean.map(|(key, value)| format!("{key}={value}"));
        f.write_str(&nesting.into_iter().chain(other).collect::<Vec<_>>().join(","))
    }
}

impl Volume {
    fn read(text: &str) -> Self {
        let (volume, mut other) = keyed(text, Some("volume"));
        let size = other.remove("size").and_then(|size| bytes(&size));
        Self { volume, size, other }
    }
}

impl Device {
    fn read(text: &str) -> Self {
        let (path, other) = keyed(text, Some("path"));
        Self { path, other }
    }
}

/// The pairs of a value, apart from the one whose key may be left out.
fn keyed(text: &str, default: Option<&str>) -> (String, BTreeMap<String, String>) {
    let mut first = String::new();
    let mut other = BTreeMap::new();
    for (key, value) in pairs(text) {
        match key {
            Some(key) if Some(key) != default => {
                other.insert(key.to_owned(), value.to_owned());
            }
            _ => first = value.to_owned(),
        }
    }
    (first, other)
}

/// Bytes of a stored size: without a unit they are bytes.
fn bytes(text: &str) -> Option<u64> {
    let (number, shift) = match text.char_indices().next_back()? {
        (at, 'K') => (text.get(..at)?, 10),
        (at, 'M') => (text.get(..at)?, 20),
        (at, 'G') => (text.get(..at)?, 30),
        (at, 'T') => (text.get(..at)?, 40),
        _ => (text, 0),
    };
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(1 << shift);
    }
    let fraction = number.parse::<f64>().ok().filter(|size| size.is_finite() && *size >= 0.0)?;
    // A conversion from a float stops at the bounds of the integer.
    Some((fraction * f64::from(shift).exp2()) as u64)
}

#[derive(Deserialize)]
struct Stored {
    #[serde(default)]
    digest: String,
    #[serde(default, deserialize_with = "wire::optional_text")]
    hostname: Option<String>,
    #[serde(default, deserialize_with = "wire::optional_text")]
    description: Option<String>,
    #[serde(default, deserialize_with = "wire::optional_text")]
    tags: Option<String>,
    #[serde(default, deserialize_with = "wire::optional_number")]
    cores: Option<u32>,
    #[serde(default, deserialize_with = "wire::optional_number")]
    cpulimit: Option<f64>,
    #[serde(default, deserialize_with = "wire::optional_number")]
    memory: Option<u64>,
    #[serde(default, deserialize_with = "wire::optional_number")]
    swap: Option<u64>,
    #[serde(default)]
    features: Option<String>,
    #[serde(default)]
    lock: Option<String>,
    #[serde(default, deserialize_with = "wire::flag")]
    template: bool,
    #[serde(default, deserialize_with = "wire::flag")]
    unprivileged: bool,
    #[serde(default, deserialize_with = "wire::flag")]
    onboot: bool,
    #[serde(default, deserialize_with = "wire::flag")]
    protection: bool,
    #[serde(default)]
    nameserver: Option<String>,
    #[serde(default)]
    searchdomain: Option<String>,
    #[serde(default)]
    ostype: Option<String>,
    #[serde(default, deserialize_with = "wire::list")]
    lxc: Vec<(String, String)>,
    #[serde(flatten)]
    other: Map<String, Value>,
}

impl Stored {
    /// The values of keys that are numbered, as `net0`.
    fn numbered<T>(&self, name: &str, read: impl Fn(&str) -> T) -> BTreeMap<u16, T> {
        let numbered = self.other.iter().filter_map(|(key, value)| {
            let number = key.strip_prefix(name)?;
            Some((number.parse().ok()?, read(value.as_str()?)))
        });
        numbered.collect()
    }
}

impl<'de> Deserialize<'de> for Configuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let stored = Stored::deserialize(deserializer)?;
        Ok(Self {
            rootfs: stored.other.get("rootfs").and_then(Value::as_str).map(Volume::read),
            mount_points: stored.numbered("mp", Volume::read),
            networks: stored.numbered("net", str::to_owned),
            devices: stored.numbered("dev", Device::read),
            digest: Digest(stored.digest),
            hostname: stored.hostname,
            description: stored.description.unwrap_or_default().trim_end_matches('\n').to_owned(),
            tags: Tags::read(&stored.tags.unwrap_or_default()),
            cores: stored.cores,
            cpu_limit: stored.cpulimit,
            memory: stored.memory,
            swap: stored.swap,
            features: Features::read(&stored.features.unwrap_or_default()),
            lock: stored.lock.as_deref().map(Lock::from),
            template: stored.template,
            unprivileged: stored.unprivileged,
            on_boot: stored.onboot,
            protection: stored.protection,
            nameserver: stored.nameserver,
            search_domain: stored.searchdomain,
            os_type: stored.ostype,
            raw: stored.lxc,
        })
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_configuration_is_read() {
        let read: Configuration = serde_json::from_value(json!({
            "digest": "0a1b", "hostname": "ws-1", "description": "one\ntwo\n", "tags": "b;a",
            "cores": "2", "memory": 2048, "swap": 0, "cpulimit": "1.5", "arch": "amd64",
            "rootfs": "local-lvm:vm-105-disk-0,size=8G", "mp0": "/srv,mp=/mnt,ro=1",
            "net0": "name=eth0,bridge=vmbr0,hwaddr=BC:24:11:00:00:01,ip=dhcp,type=veth",
            "net12": "name=eth12", "dev0": "/dev/net/tun", "dev1": "path=/dev/kvm,mode=0666",
            "features": "keyctl=1,nesting=1", "lock": "disk", "template": 1, "unprivileged": 1,
            "onboot": "1", "protection": 0, "nameserver": "10.0.0.1 10.0.0.2",
            "lxc": [["lxc.cgroup2.devices.allow", "c 10:200 rwm"],
                    ["lxc.mount.entry", "/dev/net/tun dev/net/tun none bind,create=file"]],
        }))
        .unwrap();
        assert_eq!(read.digest.as_str(), "0a1b");
        assert_eq!(read.description, "one\ntwo");
        assert_eq!(read.tags.to_string(), "a;b");
        assert_eq!(
            (read.cores, read.memory, read.swap, read.cpu_limit),
            (Some(2), Some(2048), Some(0), Some(1.5))
        );
        let rootfs = read.rootfs.as_ref().unwrap();
        assert_eq!((rootfs.volume.as_str(), rootfs.size), ("local-lvm:vm-105-disk-0", Some(8 << 30)));
        assert_eq!(read.mount_points[&0].other["mp"], "/mnt");
        assert_eq!(read.network(0).unwrap().unwrap().hwaddr, "bc:24:11:00:00:01".parse().ok());
        assert_eq!(read.networks.keys().copied().collect::<Vec<_>>(), [0, 12]);
        assert_eq!(read.devices[&1].path, "/dev/kvm");
        assert!(read.features.nesting && read.template && read.unprivileged && read.on_boot);
        assert!(!read.protection);
        assert_eq!(read.features.to_string(), "nesting=1,keyctl=1");
        assert_eq!(read.lock, Some(Lock::Disk));
        assert!(read.has_device("/dev/net/tun"));
        assert!(!read.has_device("/dev/fuse"));
    }

    #[test]
    fn a_device_may_be_there_by_raw_lines_alone() {
        let lines = json!({"lxc": [["lxc.mount.entry", "/dev/net/tun dev/net/tun none bind,create=file"]]});
        assert!(serde_json::from_value::<Configuration>(lines).unwrap().has_device("/dev/net/tun"));
    }

    #[test]
    fn a_fresh_clone_has_next_to_nothing() {
        let read: Configuration = serde_json::from_value(json!({"digest": "1", "lock": "create"})).unwrap();
        assert_eq!((read.rootfs, read.lock), (None, Some(Lock::Create)));
    }

    #[rstest]
    #[case("8G", Some(8 << 30))]
    #[case("512M", Some(512 << 20))]
    #[case("4K", Some(4096))]
    #[case("1T", Some(1 << 40))]
    #[case("1.5G", Some(3 << 29))]
    #[case("3000000000", Some(3_000_000_000))]
    #[case("99999999999999T", None)]
    #[case("-1.5G", None)]
    #[case("G", None)]
    #[case("", None)]
    fn sizes(#[case] text: &str, #[case] expected: Option<u64>) {
        assert_eq!(bytes(text), expected);
    }
}
