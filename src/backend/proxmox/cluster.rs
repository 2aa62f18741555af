//! A cluster as every action sees it: its client, the last look, and what this process has under way.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::watch;
use tokio::time::Instant;

use super::{
    client::{
        Client, ClusterGuest, Configuration, Error, Failure, GuestKind, NodeName, TaskState, Upid, View, VmId,
    },
    errors,
    locks::Locks,
    look::Look,
};
use crate::{
    backend::{AgentBinary, BackendError, BodyId, BodyRef, InstanceId, Reason, ssh},
    config::ProxmoxBackend,
};

/// How long a task is waited for until it is seen whether it is still wanted.
const TASK_PATIENCE: Duration = Duration::from_secs(3);

/// How long after a lost answer a request may still be worked on. The proxy gives up after 30 s, and
/// the request goes on waiting for one of a node's few workers, which may each wait for a lock.
const HEARD_WITHIN: Duration = Duration::from_secs(60);

/// One cluster.
pub(super) struct Cluster {
    /// Speaks its API.
    pub(super) client: Client,
    /// The configuration.
    pub(super) config: ProxmoxBackend,
    /// Whose containers these are.
    pub(super) instance: InstanceId,
    /// The program that is brought into containers.
    pub(super) agent: Option<AgentBinary>,
    /// The ways into containers and onto nodes.
    pub(super) ways: Ways,
    /// The last look.
    pub(super) look: watch::Sender<Look>,
    /// One clone of a source at a time: the source is locked for the whole of it.
    pub(super) sources: Locks<u32>,
    /// One change of a body at a time.
    pub(super) bodies: Locks<BodyId>,
    /// VMIDs that were promised to bodies and are not written down yet.
    pub(super) promised: Mutex<BTreeMap<u32, BodyId>>,
    /// Bodies whose creation is to be given up.
    pub(super) given_up: Mutex<HashSet<BodyId>>,
    /// Until when a container may begin that was asked for and not answered.
    pub(super) unanswered: Mutex<HashMap<BodyId, Instant>>,
    /// Addresses of boots, by VMID and process.
    pub(super) addresses: Mutex<HashMap<(u32, u64), IpAddr>>,
}

/// The ways into containers and onto nodes.
pub(super) struct Ways {
    /// The connections into containers.
    pub(super) guests: ssh::Pool,
    /// The operator's keys for them.
    pub(super) keys: ssh::PrivateKeys,
    /// The connections to nodes, where that is configured.
    pub(super) nodes: Option<ssh::Pool>,
}

/// A container's place.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Place {
    /// Its node.
    pub(super) node: NodeName,
    /// Its number.
    pub(super) vmid: VmId,
}

impl Cluster {
    /// A cluster that nobody has looked at yet.
    pub(super) fn new(
        client: Client,
        config: ProxmoxBackend,
        instance: InstanceId,
        agent: Option<AgentBinary>,
        ways: Ways,
    ) -> Self {
        Self {
            client,
            config,
            instance,
            agent,
            ways,
            look: watch::Sender::default(),
            sources: Locks::default(),
            bodies: Locks::default(),
            promised: Mutex::default(),
            given_up: Mutex::default(),
            unanswered: Mutex::default(),
            addresses: Mutex::default(),
        }
    }

    /// The operator's public keys.
    pub(super) async fn public_keys(&self) -> Result<Vec<String>, BackendError> {
        self.ways.keys.public().await.map_err(|error| BackendError::new(Reason::SshAuthFailed, error))
    }

    /// Where the container of a body is, or would be: by the number that is remembered, else by
    /// its tags. Absent: it has none.
    pub(super) fn place_of(&self, body: &BodyRef) -> Result<Option<Place>, BackendError> {
        let look = self.look.borrow();
        let known = body.known.number.and_then(VmId::new);
        let Some(vmid) = known.or_else(|| look.bodies(&self.instance).get(&body.id).copied()) else {
            return Ok(None);
        };
        // It may have been moved to another node.
        let node = match look.guests.get(&vmid) {
            Some(guest) => guest.node.clone(),
            None => node_name(&body.host)?,
        };
        Ok(Some(Place { node, vmid }))
    }

    /// What stands at the place of a body, whosever it is. What is not where it was seen last may
    /// have been moved to another node, and only a new look tells that from a removal.
    pub(super) async fn found(&self, body: &BodyRef) -> Result<Option<(Place, Configuration)>, BackendError> {
        let Some(place) = self.place_of(body)? else { return Ok(None) };
        if let Some(configuration) = self.configuration(&place).await? {
            return Ok(Some((place, configuration)));
        }
        let may_be_elsewhere = {
            let look = self.look.borrow();
            !look.happened || look.failure.is_some() || look.guests.contains_key(&place.vmid)
        };
        if !may_be_elsewhere {
            return Ok(None);
        }
        let look = self.look_now().await?;
        let Some(guest) = look.guests.get(&place.vmid).filter(|guest| guest.kind == GuestKind::Container)
        else {
            return Ok(None);
        };
        let moved = Place { node: guest.node.clone(), vmid: place.vmid };
        Ok(self.configuration(&moved).await?.map(|configuration| (moved, configuration)))
    }

    /// Looks at the cluster now.
    pub(super) async fn look_now(&self) -> Result<Look, BackendError> {
        let (nodes, guests) = futures::try_join!(self.client.nodes(), self.client.guests())
            .map_err(|error| errors::from_client(&error))?;
        Ok(Look::new(nodes, guests))
    }

    /// Where a template is. What the cluster lists is behind; the template's own configuration is not.
    pub(super) async fn template_place(&self, number: u32) -> Result<(Place, Configuration), BackendError> {
        let missing = |words: String| BackendError::new(Reason::TemplateMissing, words);
        let vmid = VmId::new(number).ok_or_else(|| missing(format!("{number} is no VMID")))?;
        let listed = |look: &Look| look.guests.get(&vmid).cloned();
        let known: Option<ClusterGuest> = listed(&self.look.borrow());
        let guest = match known {
            Some(guest) => guest,
            None => listed(&self.look_now().await?).ok_or_else(|| {
                missing(format!(
                    "there is no CT {number} on the cluster, or the token lacks VM.Audit on /vms/{number}"
                ))
            })?,
        };
        if guest.kind != GuestKind::Container {
            return Err(missing(format!("{number} is a virtual machine")));
        }
        let place = Place { node: guest.node, vmid };
        let configuration = self.configuration(&place).await?;
        let configuration =
            configuration.ok_or_else(|| missing(format!("CT {number} is no longer on {}", place.node)))?;
        if !configuration.template {
            return Err(missing(format!("CT {number} is a container, and not a template")));
        }
        Ok((place, configuration))
    }

    /// The configuration of a container; absent: there is none on this node.
    pub(super) async fn configuration(&self, place: &Place) -> Result<Option<Configuration>, BackendError> {
        match self.client.configuration(&place.node, place.vmid, View::Pending).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.is_missing_container() => Ok(None),
            Err(error) if matches!(error.failure, Failure::Denied { .. }) => self.unseen(place, &error).await,
            Err(error) => Err(errors::from_client(&error)),
        }
    }

    /// What a refusal to look means. Rights that come with a pool hold only for what is in it: not
    /// for a container that is still being made, nor for one that is gone.
    async fn unseen(&self, place: &Place, denied: &Error) -> Result<Option<Configuration>, BackendError> {
        let free = self.client.is_free(place.vmid).await.map_err(|error| errors::from_client(&error))?;
        let refused = errors::from_client(denied);
        match (free, &self.config.pool) {
            (true, _) => Ok(None),
            (false, None) => Err(refused),
            (false, Some(pool)) => {
                let words = format!("{}; CT {} may not be in pool {pool} yet", refused.message, place.vmid);
                Err(BackendError::new(Reason::Locked, words))
            }
        }
    }

    /// Waits for a task to end well, at most for as long as tasks may take.
    pub(super) async fn finish(&self, what: &str, upid: &Upid) -> Result<(), BackendError> {
        self.finish_or(what, upid, || false).await
    }

    /// Waits for a task to end well. Aborts it when it is to be given up.
    pub(super) async fn finish_or(
        &self,
        what: &str,
        upid: &Upid,
        give_up: impl Fn() -> bool + Send,
    ) -> Result<(), BackendError> {
        let deadline = Instant::now() + self.config.task_timeout.0;
        loop {
            let state = self.client.wait_for_task(upid, TASK_PATIENCE).await;
            match state.map_err(|error| errors::from_client(&error))? {
                TaskState::Running => {}
                TaskState::Done { warnings } => {
                    if warnings > 0 {
                        tracing::info!(task = upid.as_str(), warnings, "the task ended with warnings");
                    }
                    return Ok(());
                }
                TaskState::Failed { words, .. } => return Err(errors::of_task(what, &words)),
                TaskState::Unknown => {
                    let words = format!("{what}: the node knows nothing of its task {}", upid.as_str());
                    return Err(BackendError::new(Reason::Failed, words));
                }
            }
            if give_up() {
                let _ = self.client.abort_task(upid).await;
                return Err(given_up(what));
            }
            if Instant::now() >= deadline {
                let words =
                    format!("{what}: the task {} still runs; its node's log says more", upid.as_str());
                return Err(BackendError::new(Reason::Failed, words));
            }
        }
    }

    /// Whether the creation of a body is to be given up.
    pub(super) fn is_given_up(&self, id: BodyId) -> bool {
        lock(&self.given_up).contains(&id)
    }

    /// A container of a body was asked for, and whether that was heard is not known.
    pub(super) fn note_unanswered(&self, id: BodyId) {
        lock(&self.unanswered).insert(id, Instant::now() + HEARD_WITHIN);
    }

    /// Whether a container of a body may still begin that was asked for and not answered.
    pub(super) fn may_begin_yet(&self, id: BodyId) -> bool {
        lock(&self.unanswered).get(&id).is_some_and(|until| Instant::now() < *until)
    }

    /// Promises a VMID to a body, in place of one that was promised to it before: the one that is
    /// chosen among those that are promised to others.
    pub(super) fn promise(
        &self,
        id: BodyId,
        choose: impl FnOnce(&BTreeSet<u32>) -> Result<u32, BackendError>,
    ) -> Result<u32, BackendError> {
        let mut promised = lock(&self.promised);
        promised.retain(|_, of| *of != id);
        let vmid = choose(&promised.keys().copied().collect())?;
        promised.insert(vmid, id);
        Ok(vmid)
    }
}

/// The creation was given up by us.
pub(super) fn given_up(what: &str) -> BackendError {
    BackendError::new(Reason::Failed, format!("{what}: given up, since the workspace is being deleted"))
}

/// A host's name as the cluster has it.
pub(super) fn node_name(host: &str) -> Result<NodeName, BackendError> {
    host.parse().map_err(|error| BackendError::new(Reason::NotFound, error))
}

/// Locks what is never left in the middle of a change.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
