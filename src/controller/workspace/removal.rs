//! A Workspace that is being deleted: everything it has on its backend goes, or is written into
//! the ledger, and then the object goes.

use std::time::Duration;

use jiff::Timestamp;
use kube::runtime::controller::Action;

use crate::{
    backend::{BackendError, Incarnation},
    controller::{
        events::{self, Notice},
        ledger::Entry,
        tasks::{TaskKind, TaskState},
    },
};

use super::{
    pass::{Pass, PassError},
    plan::{self, DeletionPlan, Observed},
    problem::Problem,
    record::{RecordedBody, ResolvedSpec},
    status::Progress,
};

/// How long a pass waits for a removal before it goes on elsewhere.
const PATIENCE: Duration = Duration::from_secs(2);
/// Longest time between two tries while a deletion waits for its backend.
const LONGEST_WAIT: Duration = Duration::from_secs(15);

impl Pass<'_> {
    /// Goes on with the deletion as far as possible.
    pub(super) async fn remove(&mut self) -> Result<Action, PassError> {
        let mut searched: Option<Result<(), BackendError>> = None;
        if !self.patience_ended() && !self.creation_has_ended().await {
            return Ok(Action::requeue(LONGEST_WAIT));
        }
        loop {
            self.observe().await;
            let plan = plan::plan_deletion(
                &self.subject,
                &self.record,
                &self.observed,
                searched.as_ref(),
                self.limits(),
                Timestamp::now(),
            );
            tracing::debug!(?plan, "planned the deletion");
            match plan {
                DeletionPlan::Find => searched = Some(self.find_for_removal().await),
                DeletionPlan::Remove => {
                    self.say(None, &Progress::Deleting(None)).await?;
                    match self.remove_body().await {
                        None => return Ok(Action::requeue(LONGEST_WAIT)),
                        Some(Ok(())) => {}
                        Some(Err(error)) => {
                            if self.patience_ended() {
                                self.write_ledger().await?;
                                return self.release().await;
                            }
                            return self.wait_for_backend(error.into()).await;
                        }
                    }
                }
                DeletionPlan::Wait(problem) => return self.wait_for_backend(problem).await,
                DeletionPlan::Ledger => {
                    self.write_ledger().await?;
                    return self.release().await;
                }
                DeletionPlan::Release => return self.release().await,
            }
        }
    }

    /// Looks for a body whose id is not in the status.
    async fn find_for_removal(&mut self) -> Result<(), BackendError> {
        for (name, backend) in &self.context.backends {
            if let Some(found) = backend.find(&self.subject.owner).await?.into_iter().next() {
                self.record.body = Some(RecordedBody {
                    id: found.body.id,
                    incarnation: found.incarnation.max(Incarnation::FIRST),
                    backend: name.clone(),
                    host: found.body.host,
                    number: found.body.known.number,
                    resolved: ResolvedSpec {
                        image: String::new(),
                        user: String::new(),
                        cpu: self.context.config.defaults.cpu,
                        memory: self.context.config.defaults.memory,
                        pids: self.context.config.defaults.pids,
                        disk: None,
                    },
                    template: None,
                });
                return Ok(());
            }
        }
        Ok(())
    }

    /// Waits for a creation that is under way: what it has not made yet could not be removed.
    async fn creation_has_ended(&self) -> bool {
        let tasks = &self.context.tasks;
        if !tasks.is_running(self.uid(), TaskKind::Create) {
            return true;
        }
        if let Some((backend, body)) = self.place() {
            backend.give_up_creation(body.id);
        }
        let ended =
            tasks.run(self.uid(), TaskKind::Create, &self.subject.key, PATIENCE, |_| async { Ok(None) });
        matches!(ended.await, TaskState::Done(_))
    }

    /// Removes the body; `None` while that still goes on.
    async fn remove_body(&self) -> Option<Result<(), BackendError>> {
        let (backend, body) = self.place()?;
        let retain = self.subject.deletion.as_ref().is_some_and(|deletion| deletion.retain_volumes);
        let work = |_| async move { backend.remove(&body, retain).await.map(|()| None) };
        let tasks = &self.context.tasks;
        match tasks.run(self.uid(), TaskKind::Remove, &self.subject.key, PATIENCE, work).await {
            TaskState::Running(_) => None,
            TaskState::Done(result) => Some(result.map(drop)),
        }
    }

    fn patience_ended(&self) -> bool {
        let Some(request) = &self.subject.deletion else { return true };
        let waited = Duration::try_from(Timestamp::now().duration_since(request.since)).unwrap_or_default();
        request.way_out.is_some() || waited >= self.limits().deletion
    }

    async fn wait_for_backend(&mut self, problem: Problem) -> Result<Action, PassError> {
        self.context.metrics.failed(problem.reason);
        tracing::warn!(reason = problem.reason, message = problem.message, "the deletion waits");
        self.say(None, &Progress::Deleting(Some(problem))).await?;
        let subject = self.backoff_subject();
        let delay = self.context.backoff.failed(self.uid(), &subject, "Terminating");
        Ok(Action::requeue(delay.min(LONGEST_WAIT).min(self.until_patience_ends())))
    }

    /// So that the deletion ends when it was said to, and not at the next try after that.
    fn until_patience_ends(&self) -> Duration {
        let Some(request) = &self.subject.deletion else { return LONGEST_WAIT };
        let waited = Duration::try_from(Timestamp::now().duration_since(request.since)).unwrap_or_default();
        self.limits().deletion.saturating_sub(waited).max(Duration::from_millis(200))
    }

    async fn write_ledger(&self) -> Result<(), PassError> {
        let body = self.record.body.as_ref();
        let entry = Entry {
            owner: self.subject.owner.clone(),
            backend: body.map(|body| body.backend.clone()),
            host: body.map(|body| body.host.clone()),
            id: body.map(|body| body.id.to_string()),
            number: body.and_then(|body| body.number),
            everything: false,
            since: Timestamp::now().to_string(),
        };
        self.context.ledger.add(&entry).await?;
        tracing::warn!(?entry, "the backend does not answer: what is left to remove is in the ledger");
        let notice = Notice {
            warning: true,
            reason: "RemovalPostponed".to_owned(),
            note: "the backend does not answer; container and network are removed when it does, the volumes are kept"
                .to_owned(),
        };
        events::publish(&self.context.client, &self.context.identity, &*self.object, notice).await;
        Ok(())
    }

    /// Whoever keeps volumes must be told what they are called, now that nothing else knows.
    async fn announce_retained_volumes(&self) {
        let Observed::Body(seen) = &self.observed else { return };
        let Some(body) = &self.record.body else { return };
        if !self.subject.has_finalizer || seen.volumes.is_empty() {
            return;
        }
        let notice = Notice {
            warning: false,
            reason: "VolumesRetained".to_owned(),
            note: format!("kept on {}/{}: {}", body.backend, body.host, seen.volumes.join(", ")),
        };
        events::publish(&self.context.client, &self.context.identity, &*self.object, notice).await;
    }

    /// Takes our finalizer off.
    async fn release(&mut self) -> Result<Action, PassError> {
        let uid = self.uid().to_owned();
        let body = self.record.body.as_ref().map(|body| body.id);
        self.context.forget(&uid, body);
        self.announce_retained_volumes().await;
        if self.subject.has_finalizer {
            match self.set_finalizer(false).await {
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                other => other?,
            }
            self.context.forget(&uid, body);
        }
        Ok(Action::await_change())
    }
}
