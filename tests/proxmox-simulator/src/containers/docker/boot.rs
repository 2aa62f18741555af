//! The script that runs in a container before its init.

use ipnet::Ipv4Net;

use crate::containers::{Boot, Nic};

/// Where the script lies until it has run: it removes itself.
pub(super) const PATH: &str = ".pve-boot";
const SCRIPT: &str = include_str!("boot.sh");

/// The network that a bridge is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bridge {
    pub(super) subnet: Ipv4Net,
    pub(super) gateway: std::net::Ipv4Addr,
}

/// The script for one boot, with each network card's bridge.
pub(super) fn script(boot: &Boot, cards: &[(&Nic, Bridge)]) -> String {
    // The guest gets the first label.
    let guest = boot.hostname.split('.').next().unwrap_or_default();
    let address = cards.iter().find_map(|(nic, _)| Ipv4::of(nic).address()).unwrap_or_default();
    let mut lines = vec![
        format!("guest={}", quote(guest)),
        format!("domain={}", quote(boot.searchdomain.as_deref().unwrap_or_default())),
        format!("nameservers={}", quote(boot.nameserver.as_deref().unwrap_or_default())),
        format!("address={}", quote(address)),
        "cards() {".to_owned(),
        "\t:".to_owned(),
    ];
    for (number, (_, bridge)) in cards.iter().enumerate() {
        lines.push(format!("\ttake {number} {}", bridge.subnet));
    }
    for (number, (nic, bridge)) in cards.iter().enumerate() {
        let ipv4 = Ipv4::of(nic);
        let gateway = match ipv4 {
            Ipv4::Dhcp => bridge.gateway.to_string(),
            _ => nic.gw.clone().unwrap_or_default(),
        };
        let words = [&nic.name, &nic.hwaddr, ipv4.word(), &gateway].map(quote).join(" ");
        lines.push(format!("\tgive {number} {words}"));
    }
    lines.push("}".to_owned());
    lines.push(SCRIPT.to_owned());
    lines.join("\n")
}

/// How a network card gets its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ipv4<'a> {
    /// From the network.
    Dhcp,
    /// Not at all, or by the guest.
    Manual,
    /// This one, with the length of its prefix.
    Static(&'a str),
}

impl<'a> Ipv4<'a> {
    pub(super) fn of(nic: &'a Nic) -> Self {
        match nic.ip.as_deref() {
            Some("dhcp") => Self::Dhcp,
            None | Some("manual") => Self::Manual,
            Some(address) => Self::Static(address),
        }
    }

    fn word(self) -> &'a str {
        match self {
            Self::Dhcp => "dhcp",
            Self::Manual => "manual",
            Self::Static(address) => address,
        }
    }

    /// The address without its prefix.
    pub(super) fn address(self) -> Option<&'a str> {
        match self {
            Self::Static(address) => address.split('/').next(),
            _ => None,
        }
    }
}

fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn nic(ip: Option<&str>, gw: Option<&str>) -> Nic {
        Nic {
            name: "eth0".to_owned(),
            bridge: "vmbr0".to_owned(),
            hwaddr: "BC:24:11:00:00:01".to_owned(),
            ip: ip.map(str::to_owned),
            gw: gw.map(str::to_owned),
            tag: None,
        }
    }

    fn boot(hostname: &str) -> Boot {
        Boot {
            hostname: hostname.to_owned(),
            node: "pve1".to_owned(),
            net: Vec::new(),
            nameserver: None,
            searchdomain: None,
            memory_mib: 512,
            cores: None,
        }
    }

    fn bridge() -> Bridge {
        Bridge { subnet: "10.231.0.0/24".parse().unwrap(), gateway: "10.231.0.1".parse().unwrap() }
    }

    #[rstest]
    #[case::dhcp_takes_the_gateway_of_the_network(Some("dhcp"), None, "'dhcp' '10.231.0.1'")]
    #[case::no_address(None, None, "'manual' ''")]
    #[case::manual(Some("manual"), Some("10.231.0.9"), "'manual' '10.231.0.9'")]
    #[case::a_fixed_one_has_its_own(
        Some("10.231.0.5/24"),
        Some("10.231.0.9"),
        "'10.231.0.5/24' '10.231.0.9'"
    )]
    #[case::a_fixed_one_without(Some("10.231.0.5/24"), None, "'10.231.0.5/24' ''")]
    fn a_card_gets_address_and_gateway(
        #[case] ip: Option<&str>,
        #[case] gw: Option<&str>,
        #[case] expected: &str,
    ) {
        let script = script(&boot("box"), &[(&nic(ip, gw), bridge())]);
        let give = format!("\tgive 0 'eth0' 'BC:24:11:00:00:01' {expected}\n");
        assert!(script.contains("\ttake 0 10.231.0.0/24\n"), "{script}");
        assert!(script.contains(&give), "{script}");
    }

    #[test]
    fn the_guest_gets_the_first_label_of_its_name() {
        assert!(script(&boot("box.example.com"), &[]).starts_with("guest='box'\n"));
    }

    proptest! {
        #[test]
        fn a_word_stays_one_word_in_a_shell(word in "[ -~]{0,20}") {
            let output = Command::new("sh").arg("-c").arg(format!("printf %s {}", quote(&word))).output();
            prop_assert_eq!(output.unwrap().stdout, word.into_bytes());
        }
    }
}
