//! What is behind the API: containers.
//!
//! The trait says what the API asks of them, and [`docker`] does it; [`memory`] only remembers. No rule of Proxmox VE lives here:
//! which call is allowed in which state, and in which words it is refused, is the API's.

pub mod docker;
pub mod memory;

use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    sync::mpsc,
};

/// The containers of one simulated cluster, known by their numbers. Errors are words for a task's log.
#[async_trait]
pub trait Containers: Send + Sync {
    /// Makes the file system of a new container from an OS template's volume id.
    async fn create(&self, vmid: u32, os_template: &str, setup: &Setup) -> Result<(), String>;
    /// Copies the file system of a stopped container to a new one. The machine-id is emptied in the
    /// copy.
    async fn copy(&self, from: u32, to: u32) -> Result<(), String>;
    /// Boots. Hostname, addresses and resolv.conf are written before, the last unless the guest has a
    /// regular file `/etc/.pve-ignore.resolv.conf`.
    async fn start(&self, vmid: u32, boot: &Boot) -> Result<(), String>;
    /// Asks the guest's init to end; true when it ended within the time.
    async fn shutdown(&self, vmid: u32, timeout: Duration) -> Result<bool, String>;
    /// Ends it at once.
    async fn kill(&self, vmid: u32) -> Result<(), String>;
    /// Removes it with its file system.
    async fn remove(&self, vmid: u32) -> Result<(), String>;
    /// What it is doing.
    async fn state(&self, vmid: u32) -> Result<RunState, String>;
    /// Its init, if it runs: what [`state`](Self::state) says without looking inside, which takes longer.
    async fn init(&self, vmid: u32) -> Result<Option<Init>, String> {
        let state = self.state(vmid).await?;
        Ok(state.pid.map(|pid| Init { pid, started: state.started }))
    }
    /// `pct exec`: runs argv as root inside.
    async fn exec(&self, vmid: u32, argv: &[String], stdin: &[u8]) -> Result<Output, String>;
    /// As [`exec`](Self::exec), with input and outputs as they come. Returns the exit code. Unless it
    /// is implemented, the command starts when its input has ended.
    async fn attach(
        &self,
        vmid: u32,
        argv: &[String],
        mut stdin: Input,
        outputs: mpsc::Sender<Chunk>,
    ) -> Result<i32, String> {
        let mut input = Vec::new();
        stdin.read_to_end(&mut input).await.map_err(|error| error.to_string())?;
        let output = self.exec(vmid, argv, &input).await?;
        // Nobody needs to listen.
        let _ = outputs.send(Chunk::Stdout(output.stdout.into())).await;
        let _ = outputs.send(Chunk::Stderr(output.stderr.into())).await;
        Ok(output.code)
    }
}

/// What a container made from an OS template is given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Setup {
    /// The name in the comments of its SSH host keys.
    pub hostname: String,
    /// Root's password; none leaves the account locked.
    pub root_password: Option<String>,
    /// Lines for root's `authorized_keys`.
    pub ssh_public_keys: Option<String>,
}

/// What a container boots with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Boot {
    /// Its name; the guest gets the first label.
    pub hostname: String,
    /// The node that it is on.
    pub node: String,
    /// Its network cards.
    pub net: Vec<Nic>,
    /// Addresses of name servers, parted by spaces; the host's unless they are given.
    pub nameserver: Option<String>,
    /// Domains that names are looked up in, parted by spaces.
    pub searchdomain: Option<String>,
    /// Its memory, in MiB.
    pub memory_mib: u64,
    /// How many processors it may use; all unless it is given.
    pub cores: Option<u32>,
}

/// A network card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nic {
    /// Its name inside.
    pub name: String,
    /// The bridge that it is on.
    pub bridge: String,
    /// Its hardware address.
    pub hwaddr: String,
    /// `dhcp`, `manual` or an address with its prefix.
    pub ip: Option<String>,
    /// The gateway beside a fixed address.
    pub gw: Option<String>,
    /// The VLAN.
    pub tag: Option<u16>,
}

/// What a container is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunState {
    /// The process that is its init; none while it is stopped.
    pub pid: Option<u32>,
    /// Since when it runs.
    pub started: Option<SystemTime>,
    /// Its network interfaces while it runs, loopback among them.
    pub interfaces: Vec<Interface>,
}

/// The first process of a running container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Init {
    /// Its number outside.
    pub pid: u32,
    /// When it started.
    pub started: Option<SystemTime>,
}

/// A network interface inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its hardware address.
    pub hwaddr: String,
    /// IPv4 addresses with their prefixes.
    pub inet: Vec<String>,
    /// IPv6 addresses with their prefixes.
    pub inet6: Vec<String>,
}

/// What a command left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// Its exit code.
    pub code: i32,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
}

/// A command's input while it runs.
pub type Input = Box<dyn AsyncRead + Send + Unpin>;

/// A piece of a command's output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chunk {
    /// Of the standard output.
    Stdout(Bytes),
    /// Of the standard error.
    Stderr(Bytes),
}
