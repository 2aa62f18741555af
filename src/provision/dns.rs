//! Name resolution inside a container whose host would otherwise write it anew at every start, as
//! Proxmox VE does.

use std::net::{IpAddr, Ipv4Addr};

use crate::backend::{DnsMode, ExecOutput, ExecRequest};

const SCRIPT: &str = include_str!("scripts/dns.sh");
/// The folder of `resolv.conf`.
const FOLDER: &str = "/etc";
/// Tailscale's own resolver, the same in every tailnet.
const TAILSCALE: IpAddr = IpAddr::V4(Ipv4Addr::new(100, 100, 100, 100));

/// How a container is to resolve names.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DnsSetup {
    /// Where name resolution comes from.
    pub mode: DnsMode,
    /// The servers in their order; with [`DnsMode::Tailscale`] those that are asked when
    /// Tailscale's own does not answer. Empty: `resolv.conf` stays as the container has it.
    pub servers: Vec<IpAddr>,
}

/// What became of a container's `resolv.conf`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ResolvConf {
    /// The host writes it.
    LeftToHost,
    /// The host leaves it alone, and nothing in the container can change it.
    Immutable,
    /// The host leaves it alone, but root in the container can change it. Unprivileged containers
    /// get no further: the kernel lets nobody in a user namespace make a file immutable.
    Changeable,
}

impl DnsSetup {
    /// The command that sets it up, for root. Safe to repeat. That the file can not be made
    /// immutable is no failure of it.
    pub fn command(&self) -> ExecRequest {
        self.command_in(FOLDER)
    }

    fn command_in(&self, folder: &str) -> ExecRequest {
        let (mode, first) = match self.mode {
            DnsMode::Host => return ExecRequest::script("root", SCRIPT).with_args([folder, "host"]),
            DnsMode::Static => ("keep", None),
            DnsMode::Tailscale => ("keep", Some(TAILSCALE)),
        };
        let others = self.servers.iter().copied().filter(|server| Some(*server) != first);
        let servers = first.into_iter().chain(others).map(|server| server.to_string());
        let arguments = [folder.to_owned(), mode.to_owned()].into_iter().chain(servers);
        ExecRequest::script("root", SCRIPT).with_args(arguments)
    }

    /// What the command that succeeded says it has reached.
    pub fn outcome(&self, output: &ExecOutput) -> ResolvConf {
        match self.mode {
            DnsMode::Host => ResolvConf::LeftToHost,
            _ if output.stdout.trim() == "berth:resolv-conf=immutable" => ResolvConf::Immutable,
            _ => ResolvConf::Changeable,
        }
    }
}

#[cfg(test)]
#[path = "dns_tests.rs"]
mod tests;
