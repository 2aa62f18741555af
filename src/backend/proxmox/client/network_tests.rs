//! Values of `net0`, written and read.

use std::collections::BTreeMap;

use ipnet::{Ipv4Net, Ipv6Net};
use proptest::{option, prelude::*};
use rstest::rstest;

use super::network::{Address, HardwareAddress, InvalidInterface, NetworkInterface, VlanTag};

fn read(text: &str) -> Result<NetworkInterface, InvalidInterface> {
    text.parse()
}

#[rstest]
#[case("name=eth0,bridge=vmbr0")]
#[case("name=eth0,bridge=vmbr0,ip=dhcp")]
#[case("name=eth0,bridge=vmbr0,ip=dhcp,tag=20")]
#[case("name=eth0,bridge=vmbr0,ip=10.0.0.5/24,gw=10.0.0.1")]
#[case("name=eth0,bridge=vmbr0,ip=10.0.0.5/24,gw=10.0.0.1,tag=4094")]
#[case("name=eth0,bridge=vmbr0,ip=dhcp,ip6=auto")]
#[case("name=eth0,bridge=vmbr0,ip=dhcp,tag=20,hwaddr=BC:24:11:aa:bb:cc,firewall=1,type=veth")]
fn values_are_written_in_one_order(#[case] text: &str) {
    let interface = read(text).unwrap();
    assert_eq!(interface.to_string(), text);
    assert_eq!(interface.validate(), Ok(()));
}

#[test]
fn a_stored_value_is_read_whatever_its_order() {
    let stored = "name=eth0,bridge=vmbr0,gw=10.0.0.1,hwaddr=BC:24:11:00:00:01,ip=10.0.0.5/24,tag=3,type=veth";
    assert_eq!(
        read(stored).unwrap().to_string(),
        "name=eth0,bridge=vmbr0,ip=10.0.0.5/24,gw=10.0.0.1,tag=3,hwaddr=BC:24:11:00:00:01,type=veth"
    );
}

#[rstest]
#[case("bridge=vmbr0", InvalidInterface::NoName)]
#[case("name=eth0,vmbr0", InvalidInterface::NoKey("vmbr0".into()))]
#[case("name=eth0,tag=1,tag=2", InvalidInterface::Twice("tag".into()))]
#[case("name=eth0,tag=0", value("tag", "0"))]
#[case("name=eth0,tag=4095", value("tag", "4095"))]
#[case("name=eth0,ip=10.0.0.5/33", value("ip", "10.0.0.5/33"))]
#[case("name=eth0,ip=10.0.0.5", value("ip", "10.0.0.5"))]
#[case("name=eth0,gw=10.0.0.300", value("gw", "10.0.0.300"))]
#[case("name=eth0,hwaddr=01:24:11:00:00:01", value("hwaddr", "01:24:11:00:00:01"))]
#[case("name=eth0,hwaddr=+2:24:11:00:00:01", value("hwaddr", "+2:24:11:00:00:01"))]
#[case("name=eth0,hwaddr=02:24:11:00:00", value("hwaddr", "02:24:11:00:00"))]
#[case("name=eth0/1", InvalidInterface::Value { key: "name", value: "eth0/1".into() })]
fn what_is_no_interface(#[case] text: &str, #[case] expected: InvalidInterface) {
    assert_eq!(read(text), Err(expected));
}

fn value(key: &'static str, value: &str) -> InvalidInterface {
    InvalidInterface::Value { key, value: value.to_owned() }
}

#[rstest]
#[case("name=eth0,ip=10.0.0.5/24,gw=10.0.1.1", false)]
#[case("name=eth0,ip=10.0.0.5/24,gw=10.0.0.5", false)]
#[case("name=eth0,ip=dhcp,gw=10.0.0.1", false)]
#[case("name=eth0,gw=10.0.0.1", false)]
#[case("name=eth0,ip=auto", false)]
#[case("name=eth0,ip6=fd00::5/64,gw6=fd00::1", true)]
#[case("name=eth0,ip6=fd00::5/64,gw6=fe80::1", true)]
#[case("name=eth0,ip6=fd00::5/64,gw6=fd01::1", false)]
fn a_gateway_is_in_the_network(#[case] text: &str, #[case] valid: bool) {
    assert_eq!(read(text).unwrap().validate().is_ok(), valid);
}

#[test]
fn the_hardware_address_and_unknown_keys_of_the_present_value_stay() {
    let present =
        read("name=eth0,bridge=vmbr0,hwaddr=BC:24:11:00:00:01,ip=dhcp,firewall=1,mtu=1400").unwrap();
    let wanted = read("name=eth0,bridge=vmbr1,ip=10.0.0.5/24,gw=10.0.0.1,mtu=9000").unwrap();
    assert_eq!(
        wanted.in_place_of(&present).to_string(),
        "name=eth0,bridge=vmbr1,ip=10.0.0.5/24,gw=10.0.0.1,hwaddr=BC:24:11:00:00:01,firewall=1,mtu=9000"
    );
    let own = read("name=eth0,hwaddr=02:00:00:00:00:09").unwrap();
    assert_eq!(own.in_place_of(&present).hwaddr, "02:00:00:00:00:09".parse().ok());
}

#[test]
fn hardware_addresses_are_compared_without_case() {
    let address = |text: &str| text.parse::<HardwareAddress>().unwrap();
    assert_eq!(address("bc:24:11:AA:00:01"), address("BC:24:11:aa:00:01"));
    assert_eq!(address("bc:24:11:AA:00:01").as_str(), "bc:24:11:AA:00:01");
}

#[test]
fn an_unclean_value_is_not_sent() {
    let mut interface = read("name=eth0").unwrap();
    interface.other.insert("mtu".into(), "1,tag=5".into());
    assert!(interface.validate().is_err());
}

fn interfaces() -> impl Strategy<Value = NetworkInterface> {
    let v4 = (any::<[u8; 4]>(), 0..=32_u8).prop_map(|(ip, len)| Ipv4Net::new_assert(ip.into(), len));
    let v6 = (any::<[u8; 16]>(), 0..=128_u8).prop_map(|(ip, len)| Ipv6Net::new_assert(ip.into(), len));
    let hwaddr = any::<[u8; 5]>().prop_map(|rest| {
        let rest = rest.map(|byte| format!("{byte:02X}")).join(":");
        format!("BC:{rest}").parse().unwrap()
    });
    let other = proptest::collection::btree_map("firewall|mtu|rate|type", "[a-z0-9.;]{1,8}", 0..4);
    let ip = prop_oneof![v4.prop_map(Address::Static), Just(Address::Dhcp), Just(Address::Manual)];
    let ip6 = prop_oneof![v6.prop_map(Address::Static), Just(Address::Automatic), Just(Address::Dhcp)];
    (
        "[a-z][a-z0-9]{1,14}",
        option::of("vmbr[0-9]{1,4}"),
        (option::of(ip), option::of(any::<[u8; 4]>())),
        (option::of(ip6), option::of(any::<[u8; 16]>())),
        option::of(1..=4094_u16),
        (option::of(hwaddr), other),
    )
        .prop_map(|(name, bridge, (ip, gw), (ip6, gw6), tag, (hwaddr, other))| NetworkInterface {
            name: name.parse().unwrap(),
            bridge: bridge.map(|bridge| bridge.parse().unwrap()),
            ip,
            gateway: gw.map(Into::into),
            ip6,
            gateway6: gw6.map(Into::into),
            tag: tag.and_then(VlanTag::new),
            hwaddr,
            other: BTreeMap::from_iter(other),
        })
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(interface in interfaces()) {
        let text = interface.to_string();
        prop_assert_eq!(read(&text).unwrap(), interface);
    }

    #[test]
    fn no_text_does_harm(text in "\\PC{0,60}|(name=|ip=|,|tag=|hwaddr=|[a-z0-9:./]){0,12}") {
        if let Ok(interface) = read(&text) {
            prop_assert_eq!(read(&interface.to_string()).unwrap(), interface);
        }
    }
}
