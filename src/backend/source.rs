//! What a container is made from.

use std::{convert::Infallible, fmt, str::FromStr};

/// What a container is made from. Written as the image's name, `vmid:9000` or `os:debian-12-standard`:
/// so it stands in a Workspace's status.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Source {
    /// An image, on Docker.
    Image(String),
    /// A container template of a Proxmox VE cluster, by its VMID.
    Template(u32),
    /// An OS template of a Proxmox VE cluster, by its name or the beginning of it.
    OsTemplate(String),
}

impl FromStr for Source {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        // An image could be called that as well; only backends that have no images read this.
        if let Some(vmid) = text.strip_prefix("vmid:").and_then(|vmid| vmid.parse().ok()) {
            return Ok(Self::Template(vmid));
        }
        Ok(match text.strip_prefix("os:") {
            Some(name) => Self::OsTemplate(name.to_owned()),
            None => Self::Image(text.to_owned()),
        })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image(name) => formatter.write_str(name),
            Self::Template(vmid) => write!(formatter, "vmid:{vmid}"),
            Self::OsTemplate(name) => write!(formatter, "os:{name}"),
        }
    }
}
