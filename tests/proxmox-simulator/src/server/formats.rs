//! The named formats of parameters.

use std::net::{Ipv4Addr, Ipv6Addr};

use regex::Regex;

/// Checks a value against a named format. The error is the text after `invalid format - `.
///
/// # Errors
///
/// What the value does not look like.
pub fn check(format: &str, value: &str) -> Result<(), String> {
    if let Some(item) = format.strip_suffix("-list") {
        return value
            .split([',', ';', ' ', '\0'])
            .filter(|part| !part.is_empty())
            .try_for_each(|part| check(item, part));
    }
    let (pattern, words) = match format {
        "pve-vmid" => ("[1-9][0-9]{2,8}", "value does not look like a valid VM ID"),
        "pve-node" => (DNS_LABEL, "value does not look like a valid node name"),
        "dns-name" => (DNS_NAME, "value does not look like a valid DNS name"),
        "pve-tag" => (r"(?i)[a-z0-9_][a-z0-9_\-+.]*", "invalid characters in tag"),
        "pve-configid" => (r"(?i)[a-z][a-z0-9_-]+", "invalid configuration ID '{value}'"),
        "pve-storage-id" if value.len() < 2 => {
            (".{2}", "storage ID '{value}' cannot be shorter than 2 characters")
        }
        "pve-storage-id" => {
            (r"(?i)[a-z][a-z0-9\-_.]*[a-z0-9]", "storage ID '{value}' contains illegal characters")
        }
        "pve-poolid" if value.split('/').count() > 3 => {
            ("[^/]", "pool name '{value}' nested too deeply (max levels = 3)")
        }
        "pve-poolid" => {
            (r"[A-Za-z0-9._-]+(?:/[A-Za-z0-9._-]+){0,2}", "pool name '{value}' contains invalid characters")
        }
        "pve-realm" => (r"[A-Za-z][A-Za-z0-9.\-_]+", "value does not look like a valid realm"),
        "pve-volume-id" => (r"(?i)[a-z][a-z0-9\-_.]*[a-z0-9]:.+", "unable to parse volume ID '{value}'"),
        "disk-size" => {
            (r"\d+(?:\.\d+)?(?:[KMGT](?:iB)?)?", "value does not look like a valid disk size: {value}")
        }
        "pve-lxc-dev-string" => (r"/dev/[^\s]+", "{value} is not a valid device path"),
        "pve-startup-order" => (
            r"(?:(?:order=)?\d+|up=\d+|down=\d+)(?:,(?:(?:order=)?\d+|up=\d+|down=\d+))*",
            "unable to parse startup options",
        ),
        "pve-storage-content" => (CONTENT, "invalid content type '{value}'"),
        "mac-addr" => return mac(value),
        "ipv4" => {
            return number(
                value.parse::<Ipv4Addr>().is_ok(),
                "value does not look like a valid IPv4 address",
            );
        }
        "ipv6" => {
            return number(
                value.parse::<Ipv6Addr>().is_ok(),
                "value does not look like a valid IPv6 address",
            );
        }
        "ip" | "lxc-ip-with-ll-iface" => {
            let local = value.split_once('%').filter(|(address, _)| address.starts_with("fe80:"));
            let address = local.map_or(value, |(address, _)| address);
            let valid = address.parse::<std::net::IpAddr>().is_ok();
            return number(valid, "value does not look like a valid IP address");
        }
        "pve-ipv4-config" => {
            let valid = matches!(value, "dhcp" | "manual") || cidr::<Ipv4Addr>(value, 32);
            return number(valid, "value does not look like a valid ipv4 network configuration");
        }
        "pve-ipv6-config" => {
            let valid = matches!(value, "auto" | "dhcp" | "manual") || cidr::<Ipv6Addr>(value, 128);
            return number(valid, "value does not look like a valid ipv6 network configuration");
        }
        _ => return Ok(()),
    };
    number(whole(pattern, value), &words.replace("{value}", value))
}

const CONTENT: &str = "backup|images|import|iso|none|rootdir|snippets|vztmpl";

const DNS_LABEL: &str = "[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?";
const DNS_NAME: &str =
    r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*";

fn number(valid: bool, words: &str) -> Result<(), String> {
    if valid { Ok(()) } else { Err(format!("{words}\n")) }
}

fn cidr<A: std::str::FromStr>(value: &str, longest: u8) -> bool {
    value.split_once('/').is_some_and(|(address, prefix)| {
        address.parse::<A>().is_ok() && prefix.parse().is_ok_and(|prefix: u8| prefix <= longest)
    })
}

/// A hardware address; that of a group is refused.
fn mac(value: &str) -> Result<(), String> {
    let valid = whole("(?i)[0-9a-f][02468ace](?::[0-9a-f]{2}){5}", value);
    number(valid, "value does not look like a valid unicast MAC address")
}

/// Whether the whole value matches.
pub fn whole(pattern: &str, value: &str) -> bool {
    match Regex::new(&format!("^(?:{pattern})$")) {
        Ok(regex) => regex.is_match(value),
        Err(error) => {
            tracing::error!(pattern, %error, "no value can match");
            false
        }
    }
}
