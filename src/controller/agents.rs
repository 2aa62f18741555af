//! What the leader knows of the agents, and what it wants of them. Filled by the gateways'
//! streams; in memory only, since the gateways tell all of it again to a new leader.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use berth_link::wire::{AgentInfo, process::DesiredProcesses, process::Processes, system::Activity};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::backend::BodyId;

/// A link that a gateway holds.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Link {
    /// Who is on it. It has answered the gateway's first questions.
    pub agent: AgentInfo,
    /// The replica that holds it.
    pub gateway: String,
    /// Since when.
    pub since: Timestamp,
}

/// A boot of a container that a leader has seen.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Awaited {
    /// When the container was started, in the host's words.
    pub boot: String,
    /// When this leader saw it first: a link from before then is another boot's.
    pub since: Instant,
}

/// What is known of one agent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Agent {
    /// Its link, while there is one.
    pub link: Option<Link>,
    /// When this leader was told of the link.
    pub linked_at: Option<Instant>,
    /// The boot of the container whose agent this leader waits for, and since when.
    pub awaited: Option<Awaited>,
    /// When there was last none; absent: there never was one since this leader began.
    pub lost_at: Option<Instant>,
    /// Its processes as it last told.
    pub processes: Option<Arc<Processes>>,
    /// What it last told of work.
    pub activity: Option<Activity>,
}

impl Agent {
    /// Whether there is a link. One from before the container was started is not yet known to be
    /// lost.
    pub fn is_linked(&self) -> bool {
        let fresh = |since: Instant| self.awaited.as_ref().is_none_or(|awaited| since >= awaited.since);
        self.link.is_some() && self.linked_at.is_some_and(fresh)
    }

    /// Since when there is none, as far as is known; absent: there never was one.
    pub fn unlinked_since(&self) -> Option<Instant> {
        [self.lost_at, self.awaited.as_ref().map(|awaited| awaited.since)].into_iter().flatten().max()
    }

    /// Begins to wait for the agent of a boot. One that is waited for already is not waited for
    /// anew: its link may be there, and would never be made again.
    pub fn expect(&mut self, boot: &str, now: Instant) {
        if self.awaited.as_ref().is_none_or(|awaited| awaited.boot != boot) {
            self.awaited = Some(Awaited { boot: boot.to_owned(), since: now });
        }
    }
}

/// What is wanted of the agents, as the gateways are told.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wanted {
    /// The processes of each workspace.
    pub processes: HashMap<BodyId, Arc<DesiredProcesses>>,
    /// The bcrypt hashes of the previews' passwords, by host name.
    pub passwords: HashMap<String, String>,
}

/// All agents.
#[derive(Debug)]
pub struct Agents {
    known: Mutex<HashMap<BodyId, Agent>>,
    wanted: watch::Sender<Wanted>,
    holders: watch::Sender<HashMap<BodyId, String>>,
    /// When this leader began: an agent that it has not seen yet may be linked all the same.
    pub began: Instant,
}

impl Default for Agents {
    fn default() -> Self {
        Self {
            known: Mutex::default(),
            wanted: watch::Sender::default(),
            holders: watch::Sender::default(),
            began: Instant::now(),
        }
    }
}

impl Agents {
    /// What is known of one.
    pub fn get(&self, id: BodyId) -> Agent {
        self.lock().get(&id).cloned().unwrap_or_default()
    }

    /// Says which processes a workspace is to have: all of them, always.
    pub fn want_processes(&self, id: BodyId, desired: DesiredProcesses) {
        self.wanted.send_if_modified(|wanted| {
            let same = wanted.processes.get(&id).is_some_and(|known| **known == desired);
            if !same {
                wanted.processes.insert(id, Arc::new(desired));
            }
            !same
        });
    }

    /// Says the bcrypt hash of the password of a preview; `None`: it has none.
    pub fn want_password(&self, host: &str, hash: Option<String>) {
        self.wanted.send_if_modified(|wanted| match hash {
            Some(hash) => wanted.passwords.insert(host.to_owned(), hash.clone()).as_ref() != Some(&hash),
            None => wanted.passwords.remove(host).is_some(),
        });
    }

    /// What is wanted, and its changes.
    pub fn wanted(&self) -> watch::Receiver<Wanted> {
        self.wanted.subscribe()
    }

    /// Notes something about an agent. Returns whether that changed anything.
    pub fn note(&self, id: BodyId, change: impl FnOnce(&mut Agent)) -> bool {
        let mut known = self.lock();
        let agent = known.entry(id).or_default();
        let before = agent.clone();
        change(agent);
        *agent != before
    }

    /// Notes that a gateway, which is reached at this address, holds an agent's link.
    pub fn linked(&self, id: BodyId, link: Link, address: &str) {
        self.note(id, |agent| {
            agent.link = Some(link);
            agent.linked_at = Some(Instant::now());
            agent.lost_at = None;
        });
        self.holders
            .send_if_modified(|holders| holders.insert(id, address.to_owned()).as_deref() != Some(address));
    }

    /// Notes that a gateway no longer holds an agent's link. Returns whether it was the one that
    /// held it last.
    pub fn lost(&self, id: BodyId, gateway: &str) -> bool {
        let mut held = false;
        self.note(id, |agent| {
            held = agent.link.as_ref().is_some_and(|link| link.gateway == gateway);
            if held {
                agent.link = None;
                agent.lost_at = Some(Instant::now());
            }
        });
        if held {
            self.holders.send_if_modified(|holders| holders.remove(&id).is_some());
        }
        held
    }

    /// The workspaces whose agents' links a gateway holds.
    pub fn held_by(&self, gateway: &str) -> Vec<BodyId> {
        let held = |agent: &Agent| agent.link.as_ref().is_some_and(|link| link.gateway == gateway);
        self.lock().iter().filter(|(_, agent)| held(agent)).map(|(id, _)| *id).collect()
    }

    /// Where the gateway is reached that holds each link.
    pub fn holders(&self) -> watch::Receiver<HashMap<BodyId, String>> {
        self.holders.subscribe()
    }

    /// Forgets a workspace that is gone.
    pub fn forget(&self, id: BodyId) {
        self.lock().remove(&id);
        self.wanted.send_if_modified(|wanted| wanted.processes.remove(&id).is_some());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<BodyId, Agent>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn link() -> Link {
        let agent = AgentInfo {
            version: "1".to_owned(),
            protocol: berth_link::wire::PROTOCOL,
            build: None,
            failed_update: None,
            supervisor_version: None,
            boot_id: "boot".to_owned(),
            started_at: Timestamp::UNIX_EPOCH,
            user: "dev".to_owned(),
        };
        Link { agent, gateway: "gateway-0".to_owned(), since: Timestamp::UNIX_EPOCH }
    }

    fn linked_at(now: Instant) -> Agent {
        Agent { link: Some(link()), linked_at: Some(now), ..Agent::default() }
    }

    #[test]
    fn a_link_from_before_the_container_was_started_does_not_count() {
        let now = Instant::now();
        let mut agent = linked_at(now);
        agent.expect("boot 1", now + Duration::from_secs(1));
        assert!(!agent.is_linked());
    }

    #[test]
    fn a_link_counts_though_its_boot_is_seen_to_twice() {
        let now = Instant::now();
        let mut agent = Agent::default();
        agent.expect("boot 1", now);
        agent = Agent { awaited: agent.awaited, ..linked_at(now + Duration::from_secs(1)) };
        agent.expect("boot 1", now + Duration::from_secs(2));
        assert!(agent.is_linked());
        agent.expect("boot 2", now + Duration::from_secs(3));
        assert!(!agent.is_linked());
    }
}
