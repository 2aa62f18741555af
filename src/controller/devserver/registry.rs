//! What this replica found out about DevServers and the API server does not keep: what their
//! references came to, and what their agents are to be told. In memory only.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use berth_link::wire::process::DesiredProcesses;
use kube::ResourceExt;

use crate::{api::DevServer, backend::BodyId, controller::agents::Agents};

use super::{plan::Wanted, references::Found, routes::Routed};

/// Shortest time between two statuses of one DevServer: an agent could tell of changes faster than
/// the API server should be written to.
const BETWEEN_WRITES: Duration = Duration::from_secs(1);

/// What is known of one DevServer.
#[derive(Clone, Debug, Default)]
struct Known {
    found: Option<Arc<Found>>,
    wanted: Option<Wanted>,
    host: Option<String>,
    wrote: Option<Instant>,
    routed: Option<Routed>,
}

/// What is known of all DevServers, by uid.
#[derive(Debug, Default)]
pub struct Registry(Mutex<HashMap<String, Known>>);

impl Registry {
    /// What the references of one came to last.
    pub fn found(&self, uid: &str) -> Option<Arc<Found>> {
        self.lock().get(uid)?.found.clone()
    }

    /// Notes what the references of one came to.
    pub fn note_found(&self, uid: &str, found: Arc<Found>) {
        self.lock().entry(uid.to_owned()).or_default().found = Some(found);
    }

    /// What the agent was to be told of one last.
    pub fn wanted(&self, uid: &str) -> Option<Wanted> {
        self.lock().get(uid)?.wanted.clone()
    }

    /// Notes what the agent is to be told of one. What is not known now does not take away what
    /// was known.
    pub fn note_wanted(&self, uid: &str, wanted: Option<Wanted>) {
        if wanted.is_some() {
            self.lock().entry(uid.to_owned()).or_default().wanted = wanted;
        }
    }

    /// Notes the host name whose password was told to the gateways.
    pub fn note_host(&self, uid: &str, host: &str) {
        self.lock().entry(uid.to_owned()).or_default().host = Some(host.to_owned());
    }

    /// What was done about the routes of one last.
    pub fn routed(&self, uid: &str) -> Option<Routed> {
        self.lock().get(uid)?.routed.clone()
    }

    /// Notes what was done about the routes of one.
    pub fn note_routed(&self, uid: &str, routed: Routed) {
        self.lock().entry(uid.to_owned()).or_default().routed = Some(routed);
    }

    /// Notes that the status of one was written.
    pub fn note_write(&self, uid: &str) {
        self.lock().entry(uid.to_owned()).or_default().wrote = Some(Instant::now());
    }

    /// How long the next write of one has to wait.
    pub fn wait_to_write(&self, uid: &str) -> Option<Duration> {
        let wrote = self.lock().get(uid)?.wrote?;
        BETWEEN_WRITES.checked_sub(wrote.elapsed()).filter(|left| !left.is_zero())
    }

    /// Forgets one that is gone. Returns the host name whose password is no longer wanted.
    pub fn forget(&self, uid: &str) -> Option<String> {
        self.lock().remove(uid)?.host
    }

    /// Tells an agent the whole set of its Workspace, once it is known of every DevServer what it
    /// comes to. The set is made and told under one lock, so that an older one can not overtake a
    /// newer one.
    pub fn publish(&self, body: BodyId, all: &[Arc<DevServer>], agents: &Agents) {
        let known = self.lock();
        let mut live: Vec<&Arc<DevServer>> =
            all.iter().filter(|one| one.metadata.deletion_timestamp.is_none()).collect();
        live.sort_by_key(|one| one.name_any());
        let mut processes = Vec::new();
        for one in live {
            match known.get(&one.uid().unwrap_or_default()).and_then(|known| known.wanted.as_ref()) {
                Some(Wanted::Process(process)) => processes.push((**process).clone()),
                Some(Wanted::Nothing) => {}
                None => return,
            }
        }
        agents.want_processes(body, DesiredProcesses { processes });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
