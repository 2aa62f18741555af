//! What stands at the VMID of a container that is being made: what an earlier attempt left there, or
//! one whose answer was lost, or somebody else.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{INTERVAL, LATE, Making};
use crate::backend::{
    BackendError, Reason,
    proxmox::{
        client::{Cause, Change, Configuration, Effect, Error, Failure, Lock, Missing, Needs},
        cluster::{Place, given_up},
        errors,
        inspect::{self, Marked},
        mark::{self, Mark},
        remove, tun,
    },
};

impl Making<'_> {
    /// What an earlier attempt, or an administrator, put at the VMID.
    pub(super) async fn there(&self) -> Result<Option<Marked>, BackendError> {
        if let Some(place) = self.cluster.place_of(self.body)? {
            self.named(&place).await?;
        }
        if let Some(ours) = inspect::of_body(self.cluster, self.body).await? {
            if ours.mark.incarnation == self.spec.incarnation {
                return Ok(Some(ours));
            }
            let words = format!("CT {} is container {} of this workspace", self.vmid, ours.mark.incarnation);
            return Err(BackendError::new(Reason::Conflict, words));
        }
        let Some((place, foreign)) = self.cluster.found(self.body).await? else { return Ok(None) };
        if !self.spec.infrastructure.adopt_existing {
            return Err(self.occupied("belongs to something else"));
        }
        if !mark::may_be_adopted_by(&foreign.description, &self.body.owner) {
            let words =
                format!("is not marked for it: its notes have no line berth-adopt: {}", self.body.owner);
            return Err(self.occupied(&words));
        }
        if foreign.template {
            return Err(self.occupied("is a template"));
        }
        if self.spec.infrastructure.tun {
            tun::foresee(self.cluster, &foreign, &format!("CT {}", self.vmid))?;
        }
        self.say(format!("taking over CT {}", self.vmid));
        let change =
            Change { description: Some(self.mark().write(&foreign.description)), ..Change::default() };
        self.change(&place, &change, &foreign).await?;
        inspect::of_body(self.cluster, self.body).await
    }

    fn occupied(&self, why: &str) -> BackendError {
        match self.spec.infrastructure.number {
            Some(forced) => BackendError::new(Reason::NumberInUse, format!("CT {forced} {why}")),
            None => taken_by_others(self.vmid.get()),
        }
    }

    /// Waits until a container that has only been begun says whose it is: an earlier request of
    /// ours may be what began it.
    async fn named(&self, place: &Place) -> Result<(), BackendError> {
        let deadline = Instant::now() + self.cluster.config.task_timeout.0;
        while self.cluster.configuration(place).await?.is_some_and(|found| found.is_only_begun()) {
            if self.is_given_up() {
                return Err(given_up("the creation"));
            }
            if Instant::now() >= deadline {
                return Err(errors::locked(place.vmid.get(), place.node.as_str(), Lock::Create));
            }
            self.say(format!("waiting until CT {} says whose it is", self.vmid));
            sleep(INTERVAL).await;
        }
        Ok(())
    }

    /// A request that was refused, or whose answer was lost: then only what stands at the VMID
    /// tells whether it was heard, and it may be heard late.
    pub(super) async fn asked_in_vain(&self, error: Error, place: Place) -> Result<Place, BackendError> {
        let taken = matches!(error.cause(), Some(Cause::AlreadyExists(_)));
        if !taken && error.effect == Effect::Nothing {
            return Err(self.in_words(&error));
        }
        if matches!(error.failure, Failure::Lost(_) | Failure::Proxy { .. }) {
            self.cluster.note_unanswered(self.body.id);
        }
        self.say("the cluster's answer was lost; looking whether it began");
        let deadline = Instant::now() + if taken { Duration::ZERO } else { LATE };
        loop {
            let place = self.whereabouts(&place).await.unwrap_or_else(|_| place.clone());
            match self.cluster.configuration(&place).await {
                Ok(Some(found)) if found.is_only_begun() => self.named(&place).await?,
                Ok(Some(found)) => {
                    let mark = Mark::read(&found.description);
                    let ours = mark.is_some_and(|mark| mark.is_of(&self.cluster.instance, self.body));
                    return if ours { Ok(place) } else { Err(self.occupied("belongs to something else")) };
                }
                // A machine, or a container on another node, has it.
                Ok(None) if taken => return Err(self.occupied("belongs to something else")),
                Ok(None) | Err(_) if Instant::now() < deadline && !self.is_given_up() => {
                    sleep(INTERVAL).await;
                }
                Ok(None) => return Err(self.in_words(&error)),
                Err(error) => return Err(error),
            }
        }
    }

    /// Where the container is now: a clone for another node is on its source's until it is done.
    async fn whereabouts(&self, expected: &Place) -> Result<Place, BackendError> {
        let look = self.cluster.look_now().await?;
        let node = look.guests.get(&self.vmid).map_or(&expected.node, |guest| &guest.node);
        Ok(Place { node: node.clone(), vmid: self.vmid })
    }

    fn in_words(&self, error: &Error) -> BackendError {
        let words = errors::from_client(error);
        match &error.failure {
            Failure::Refused { cause: Cause::Missing(Missing::Container(_)), .. } => {
                BackendError { reason: Reason::TemplateMissing, ..words }
            }
            // Any of two privileges would do, and then the node names neither.
            Failure::Denied { needs: Needs::Unknown, .. } => {
                let pool = self.cluster.config.pool.as_ref().map(|pool| format!(" or /pool/{pool}"));
                let (vmid, pool) = (self.vmid, pool.unwrap_or_default());
                let message = format!("the token lacks VM.Allocate on /vms/{vmid}{pool} ({})", error.call);
                BackendError { message, ..words }
            }
            _ => words,
        }
    }

    /// Removes what is left of a copy that was cut off, once somebody took its lock away: it has no
    /// disk, and never gets one. The next attempt makes the container anew.
    pub(super) async fn clear_away(&self) -> BackendError {
        let removed = match inspect::of_body(self.cluster, self.body).await {
            Ok(Some(left)) if left.configuration.rootfs.is_none() => {
                remove::destroy(self.cluster, &left).await
            }
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        };
        let words = format!("making CT {} was cut off before it had a disk; it is made anew", self.vmid);
        removed.err().unwrap_or_else(|| BackendError::new(Reason::Failed, words))
    }

    /// Waits until nothing holds the container any more, and says where it is then.
    pub(super) async fn unlocked(&self, mut place: Place) -> Result<(Place, Configuration), BackendError> {
        let deadline = Instant::now() + self.cluster.config.task_timeout.0;
        loop {
            let Some(found) = self.cluster.configuration(&place).await? else {
                let now = self.whereabouts(&place).await?;
                if now != place {
                    place = now;
                    continue;
                }
                let words = format!("making CT {} failed on the cluster; its tasks there say why", self.vmid);
                return Err(BackendError::new(Reason::Failed, words));
            };
            let Some(lock) = found.lock else { return Ok((place, found)) };
            if self.is_given_up() {
                return Err(given_up("the creation"));
            }
            if Instant::now() >= deadline {
                return Err(errors::locked(place.vmid.get(), place.node.as_str(), lock));
            }
            self.say(format!("waiting for CT {} to be copied", self.vmid));
            sleep(INTERVAL).await;
        }
    }
}

/// Something else has the VMID.
fn taken_by_others(vmid: u32) -> BackendError {
    BackendError::new(Reason::NumberTaken, format!("VMID {vmid} was taken by something else"))
}
