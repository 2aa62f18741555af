//! The names by which Proxmox VE knows nodes, storages, pools and containers. A value of one of
//! these types can stand in a path or a parameter as it is.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, de};

use super::wire;

/// A text that is no name of its kind.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{text:?} is no {kind}")]
pub struct InvalidName {
    kind: &'static str,
    text: String,
}

/// Longest text of a wrong name that is repeated in an error.
const SHOWN: usize = 80;

impl InvalidName {
    pub(super) fn new(kind: &'static str, text: &str) -> Self {
        Self { kind, text: text.chars().take(SHOWN).collect() }
    }
}

macro_rules! name {
    ($(#[$documentation:meta])* $name:ident, $kind:literal, $valid:expr) => {
        $(#[$documentation])*
        #[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub struct $name(String);

        impl $name {
            /// The name as Proxmox VE writes it.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                let valid: fn(&str) -> bool = $valid;
                if valid(text) { Ok(Self(text.to_owned())) } else { Err(InvalidName::new($kind, text)) }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    };
}

name!(
    /// A node of the cluster: a DNS label.
    NodeName,
    "name of a node",
    is_dns_label
);

name!(
    /// A storage, as `local-lvm`.
    StorageName,
    "name of a storage",
    |text| text.len() >= 2
        && text.len() <= 100
        && text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.ends_with(|last: char| last.is_ascii_alphanumeric())
        && text.chars().all(|char| char.is_ascii_alphanumeric() || "-_.".contains(char))
);

name!(
    /// A resource pool; up to three levels, divided by `/`.
    PoolName,
    "name of a pool",
    |text| text.len() <= 200
        && text.split('/').count() <= 3
        && text.split('/').all(|level| {
            !level.is_empty()
                && level.chars().all(|char| char.is_ascii_alphanumeric() || "-_.".contains(char))
        })
);

name!(
    /// The name of a snapshot, up to 40 characters. `current` and `vzdump` are reserved.
    SnapshotName,
    "name of a snapshot",
    |text| (2..=40).contains(&text.len())
        && text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.chars().all(|char| char.is_ascii_alphanumeric() || "-_".contains(char))
        && text != "current"
        && text != "vzdump"
);

name!(
    /// A container's host name: labels divided by dots, 255 characters at most. The guest gets the
    /// first label. It is not unique in a cluster.
    Hostname,
    "host name",
    |text| text.len() <= 255 && text.split('.').all(is_dns_label)
);

name!(
    /// A network interface in a guest or on a host, as `eth0` or `vmbr0`.
    InterfaceName,
    "name of a network interface",
    |text| (2..=15).contains(&text.len())
        && text.chars().all(|char| char.is_ascii_alphanumeric() || "-_.".contains(char))
        && !text.chars().all(|char| char == '.')
);

name!(
    /// A volume on a storage, as `local-lvm:vm-105-disk-0` or `local:vztmpl/debian-12.tar.zst`.
    VolumeId,
    "id of a volume",
    |text| text.len() <= 500
        && text.split_once(':').is_some_and(|(storage, volume)| {
            storage.parse::<StorageName>().is_ok()
                && !volume.is_empty()
                && volume.chars().all(|char| char.is_ascii_graphic() && char != ',')
        })
);

fn is_dns_label(text: &str) -> bool {
    let alphanumeric = |char: char| char.is_ascii_alphanumeric();
    text.starts_with(alphanumeric)
        && text.ends_with(alphanumeric)
        && text.chars().all(|char| char.is_ascii_alphanumeric() || char == '-')
        && text.len() <= 255
}

/// The number of a container or virtual machine: 100 to 999999999, one in a cluster. It is free
/// again as soon as its owner is destroyed, so it identifies nothing by itself.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct VmId(u32);

impl VmId {
    /// The lowest number.
    pub const MIN: Self = Self(100);
    /// The highest number.
    pub const MAX: Self = Self(999_999_999);

    /// The id with this number, if it is within the bounds.
    pub const fn new(number: u32) -> Option<Self> {
        if number >= Self::MIN.0 && number <= Self::MAX.0 { Some(Self(number)) } else { None }
    }

    /// The number.
    pub fn get(self) -> u32 {
        self.0
    }
}

impl FromStr for VmId {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let digits = !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit());
        digits
            .then(|| text.parse().ok().and_then(Self::new))
            .flatten()
            .ok_or_else(|| InvalidName::new("number of a container", text))
    }
}

impl fmt::Display for VmId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for VmId {
    /// Accepts a string and an integer, since Proxmox VE sends either.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        wire::number(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    #[rstest]
    #[case(json!("108"), Some(108))]
    #[case(json!(108), Some(108))]
    #[case(json!(100), Some(100))]
    #[case(json!(999_999_999), Some(999_999_999))]
    #[case(json!(99), None)]
    #[case(json!(1_000_000_000), None)]
    #[case(json!("0108"), None)]
    #[case(json!("+108"), None)]
    #[case(json!(108.5), None)]
    #[case(json!(null), None)]
    fn a_number_of_a_container(#[case] sent: Value, #[case] number: Option<u32>) {
        assert_eq!(serde_json::from_value::<VmId>(sent).ok().map(VmId::get), number);
    }

    #[rstest]
    #[case::node("pve-1".parse::<NodeName>().is_ok(), true)]
    #[case::node_with_a_path("a/../b".parse::<NodeName>().is_ok(), false)]
    #[case::node_of_dots("..".parse::<NodeName>().is_ok(), false)]
    #[case::empty_node("".parse::<NodeName>().is_ok(), false)]
    #[case::storage("local-lvm".parse::<StorageName>().is_ok(), true)]
    #[case::storage_with_an_option("local,size=9".parse::<StorageName>().is_ok(), false)]
    #[case::pool("team/dev".parse::<PoolName>().is_ok(), true)]
    #[case::pool_with_empty_level("team//dev".parse::<PoolName>().is_ok(), false)]
    #[case::host_name("ws-1.example.org".parse::<Hostname>().is_ok(), true)]
    #[case::host_name_with_hyphen_at_the_end("ws-.example".parse::<Hostname>().is_ok(), false)]
    #[case::volume("local:vztmpl/debian-12_12.2-1_amd64.tar.zst".parse::<VolumeId>().is_ok(), true)]
    #[case::volume_with_an_option("local:1,size=2G".parse::<VolumeId>().is_ok(), false)]
    #[case::reserved_snapshot("current".parse::<SnapshotName>().is_ok(), false)]
    #[case::snapshot("before_save".parse::<SnapshotName>().is_ok(), true)]
    #[case::bridge("vmbr0".parse::<InterfaceName>().is_ok(), true)]
    #[case::bridge_with_an_option("vmbr0,tag=1".parse::<InterfaceName>().is_ok(), false)]
    fn names(#[case] accepted: bool, #[case] expected: bool) {
        assert_eq!(accepted, expected);
    }
}
