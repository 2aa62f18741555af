//! The value of `net0` and its like: one network interface of a container.

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use ipnet::{Ipv4Net, Ipv6Net};

use super::{
    InterfaceName,
    pairs::{is_plain, pairs},
};

/// One network interface of a container.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NetworkInterface {
    /// Its name in the guest.
    pub name: InterfaceName,
    /// The bridge on the node.
    pub bridge: Option<InterfaceName>,
    /// Its IPv4 address.
    pub ip: Option<Address<Ipv4Net>>,
    /// The IPv4 gateway.
    pub gateway: Option<Ipv4Addr>,
    /// Its IPv6 address.
    pub ip6: Option<Address<Ipv6Net>>,
    /// The IPv6 gateway.
    pub gateway6: Option<Ipv6Addr>,
    /// The VLAN.
    pub tag: Option<VlanTag>,
    /// Its hardware address. Without one, every write of the configuration makes a new one and
    /// replaces the interface of a running container.
    pub hwaddr: Option<HardwareAddress>,
    /// Everything else, as `firewall`, `mtu`, `type`.
    pub other: BTreeMap<String, String>,
}

/// How an interface gets its address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Address<Network> {
    /// This one, with the length of its network.
    Static(Network),
    /// From DHCP.
    Dhcp,
    /// From router advertisements; IPv6 only.
    Automatic,
    /// The guest sees to it.
    Manual,
}

/// A VLAN, 1 to 4094.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct VlanTag(u16);

impl VlanTag {
    /// The VLAN with this number.
    pub fn new(number: u16) -> Option<Self> {
        (1..=4094).contains(&number).then_some(Self(number))
    }
}

/// The hardware address of one interface. Kept as it is written, compared without case.
#[derive(Clone, Debug)]
pub struct HardwareAddress(String);

impl HardwareAddress {
    /// The address as it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl PartialEq for HardwareAddress {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for HardwareAddress {}

impl FromStr for HardwareAddress {
    type Err = InvalidInterface;

    fn from_str(text: &str) -> Result<Self, InvalidInterface> {
        let bytes = text
            .split(':')
            .map(|byte| if byte.len() == 2 { u8::from_str_radix(byte, 16).ok() } else { None })
            .collect::<Option<Vec<_>>>();
        match bytes.as_deref() {
            // The lowest bit of the first byte marks a group of receivers.
            Some([first, _, _, _, _, _]) if first & 1 == 0 && is_hexadecimal(text) => {
                Ok(Self(text.to_owned()))
            }
            _ => Err(InvalidInterface::value("hwaddr", text)),
        }
    }
}

// A number in Rust may begin with a plus.
fn is_hexadecimal(text: &str) -> bool {
    text.chars().all(|char| char == ':' || char.is_ascii_hexdigit())
}

/// What is wrong with the value of an interface.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidInterface {
    /// There is no `name`.
    #[error("no name")]
    NoName,
    /// A part has no key.
    #[error("{0:?} has no key")]
    NoKey(String),
    /// A key is there twice.
    #[error("{0} is there twice")]
    Twice(String),
    /// A value can not be understood.
    #[error("{key}={value:?} is not understood")]
    Value {
        /// The key.
        key: &'static str,
        /// Its value.
        value: String,
    },
    /// A gateway is not in the network of the interface.
    #[error("gateway {0} is not in the network of the interface")]
    GatewayOutside(IpAddr),
}

impl InvalidInterface {
    fn value(key: &'static str, value: &str) -> Self {
        Self::Value { key, value: value.chars().take(80).collect() }
    }
}

impl NetworkInterface {
    /// An interface with a name, and nothing else.
    pub fn new(name: InterfaceName) -> Self {
        Self {
            name,
            bridge: None,
            ip: None,
            gateway: None,
            ip6: None,
            gateway6: None,
            tag: None,
            hwaddr: None,
            other: BTreeMap::new(),
        }
    }

    /// What keeps a node from making the interface as it is meant. Stored values may be stranger:
    /// a node accepts a gateway outside the network.
    pub fn validate(&self) -> Result<(), InvalidInterface> {
        let outside = |gateway: IpAddr| Err(InvalidInterface::GatewayOutside(gateway));
        if self.ip == Some(Address::Automatic) {
            return Err(InvalidInterface::value("ip", "auto"));
        }
        if let Some(gateway) = self.gateway {
            match self.ip {
                Some(Address::Static(net)) if net.contains(&gateway) && net.addr() != gateway => {}
                _ => return outside(gateway.into()),
            }
        }
        if let Some(gateway) = self.gateway6 {
            match self.ip6 {
                Some(Address::Static(net))
                    if (net.contains(&gateway) || gateway.is_unicast_link_local())
                        && net.addr() != gateway => {}
                _ => return outside(gateway.into()),
            }
        }
        let unclean = self.other.iter().find(|(key, value)| !is_plain(key) || !is_plain(value));
        unclean.map_or(Ok(()), |(_, value)| Err(InvalidInterface::value("other", value)))
    }

    /// This value in the place of a present one: what it does not say itself about the hardware
    /// address and about keys that it has no field for stays as it is.
    pub fn in_place_of(mut self, present: &Self) -> Self {
        self.hwaddr = self.hwaddr.or_else(|| present.hwaddr.clone());
        for (key, value) in &present.other {
            self.other.entry(key.clone()).or_insert_with(|| value.clone());
        }
        self
    }
}

impl FromStr for NetworkInterface {
    type Err = InvalidInterface;

    /// Reads the keys in any order: a node stores them sorted.
    fn from_str(text: &str) -> Result<Self, InvalidInterface> {
        let mut values = BTreeMap::new();
        for (key, value) in pairs(text) {
            let key = key.ok_or_else(|| InvalidInterface::NoKey(value.chars().take(80).collect()))?;
            if values.insert(key.to_owned(), value.to_owned()).is_some() {
                return Err(InvalidInterface::Twice(key.to_owned()));
            }
        }
        let name = take(&mut values, "name", |text| text.parse().ok())?.ok_or(InvalidInterface::NoName)?;
        Ok(Self {
            name,
            bridge: take(&mut values, "bridge", |text| text.parse().ok())?,
            ip: take(&mut values, "ip", address)?,
            gateway: take(&mut values, "gw", |text| text.parse().ok())?,
            ip6: take(&mut values, "ip6", address)?,
            gateway6: take(&mut values, "gw6", |text| text.parse().ok())?,
            tag: take(&mut values, "tag", |text| text.parse().ok().and_then(VlanTag::new))?,
            hwaddr: take(&mut values, "hwaddr", |text| text.parse().ok())?,
            other: values,
        })
    }
}

fn take<T>(
    values: &mut BTreeMap<String, String>,
    key: &'static str,
    read: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, InvalidInterface> {
    values.remove(key).map(|text| read(&text).ok_or_else(|| InvalidInterface::value(key, &text))).transpose()
}

fn address<Network: FromStr>(text: &str) -> Option<Address<Network>> {
    Some(match text {
        "dhcp" => Address::Dhcp,
        "auto" => Address::Automatic,
        "manual" => Address::Manual,
        text => Address::Static(text.parse().ok()?),
    })
}

impl<Network: fmt::Display> fmt::Display for Address<Network> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Static(network) => network.fmt(f),
            Self::Dhcp => f.write_str("dhcp"),
            Self::Automatic => f.write_str("auto"),
            Self::Manual => f.write_str("manual"),
        }
    }
}

impl fmt::Display for VlanTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for HardwareAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for NetworkInterface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "name={}", self.name)?;
        let mut pair = |key: &str, value: Option<&dyn fmt::Display>| match value {
            Some(value) => write!(f, ",{key}={value}"),
            None => Ok(()),
        };
        pair("bridge", shown(&self.bridge))?;
        pair("ip", shown(&self.ip))?;
        pair("gw", shown(&self.gateway))?;
        pair("ip6", shown(&self.ip6))?;
        pair("gw6", shown(&self.gateway6))?;
        pair("tag", shown(&self.tag))?;
        pair("hwaddr", shown(&self.hwaddr))?;
        self.other.iter().try_for_each(|(key, value)| pair(key, Some(value)))
    }
}

fn shown<T: fmt::Display>(value: &Option<T>) -> Option<&dyn fmt::Display> {
    value.as_ref().map(|value| value as &dyn fmt::Display)
}
