//! Containers that are only remembered, for tests that need no real ones.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use async_trait::async_trait;

use super::{Boot, Containers, Interface, Output, RunState, Setup};

/// One container.
#[derive(Clone, Debug, Default)]
struct Remembered {
    boots: u32,
    running: Option<SystemTime>,
    interfaces: Vec<Interface>,
}

#[derive(Debug, Default)]
struct Memory {
    containers: BTreeMap<u32, Remembered>,
    leases: BTreeMap<u32, Vec<String>>,
    stubborn: Vec<u32>,
}

/// Remembers containers. A guest has the address of its configuration, or the scripted one with `dhcp`.
#[derive(Debug, Default)]
pub struct MemoryContainers(Mutex<Memory>);

impl MemoryContainers {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The addresses, with prefixes, that a guest gets by DHCP at its next start.
    pub fn lease(&self, vmid: u32, addresses: &[&str]) {
        self.memory().leases.insert(vmid, addresses.iter().map(|address| (*address).to_owned()).collect());
    }

    /// Makes a guest ignore requests to shut down.
    pub fn ignore_shutdown(&self, vmid: u32) {
        self.memory().stubborn.push(vmid);
    }

    fn change<T>(&self, vmid: u32, change: impl FnOnce(&mut Remembered) -> T) -> Result<T, String> {
        let mut memory = self.memory();
        let container = memory.containers.get_mut(&vmid);
        container.map(change).ok_or_else(|| format!("no container {vmid}"))
    }
}

#[async_trait]
impl Containers for MemoryContainers {
    async fn create(&self, vmid: u32, _os_template: &str, _setup: &Setup) -> Result<(), String> {
        self.memory().containers.insert(vmid, Remembered::default());
        Ok(())
    }

    async fn copy(&self, from: u32, to: u32) -> Result<(), String> {
        self.change(from, |_| ())?;
        self.memory().containers.insert(to, Remembered::default());
        Ok(())
    }

    async fn start(&self, vmid: u32, boot: &Boot) -> Result<(), String> {
        let lease = self.memory().leases.get(&vmid).cloned();
        let cards = boot.net.iter().map(|nic| Interface {
            name: nic.name.clone(),
            hwaddr: nic.hwaddr.to_lowercase(),
            inet: match nic.ip.as_deref() {
                Some("dhcp") => lease
                    .clone()
                    .unwrap_or_else(|| vec![format!("10.99.{}.{}/16", vmid / 250 % 250, vmid % 250 + 1)]),
                Some("manual") | None => Vec::new(),
                Some(address) => vec![address.to_owned()],
            },
            inet6: Vec::new(),
        });
        let loopback = Interface {
            name: "lo".into(),
            hwaddr: "00:00:00:00:00:00".into(),
            inet: vec!["127.0.0.1/8".into()],
            inet6: vec!["::1/128".into()],
        };
        let interfaces = std::iter::once(loopback).chain(cards).collect();
        self.change(vmid, |container| {
            container.boots += 1;
            container.running = Some(SystemTime::now());
            container.interfaces = interfaces;
        })
    }

    async fn shutdown(&self, vmid: u32, timeout: Duration) -> Result<bool, String> {
        let stubborn = self.memory().stubborn.contains(&vmid);
        if stubborn {
            tokio::time::sleep(timeout).await;
            return Ok(false);
        }
        self.kill(vmid).await.map(|()| true)
    }

    async fn kill(&self, vmid: u32) -> Result<(), String> {
        self.change(vmid, |container| container.running = None)
    }

    async fn remove(&self, vmid: u32) -> Result<(), String> {
        self.memory().containers.remove(&vmid);
        Ok(())
    }

    async fn state(&self, vmid: u32) -> Result<RunState, String> {
        let container = self.memory().containers.get(&vmid).cloned().unwrap_or_default();
        Ok(match container.running {
            None => RunState::default(),
            Some(started) => RunState {
                pid: Some(vmid + 100_000 * container.boots),
                started: Some(started),
                interfaces: container.interfaces,
            },
        })
    }

    async fn exec(&self, vmid: u32, _argv: &[String], _stdin: &[u8]) -> Result<Output, String> {
        match self.state(vmid).await?.pid {
            Some(_) => Ok(Output::default()),
            None => Err(format!("container '{vmid}' not running!")),
        }
    }
}
