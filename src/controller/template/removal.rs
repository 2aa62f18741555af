//! A Template that is being deleted: what it has on its cluster goes, or is written into the
//! ledger, and then the object goes.

use std::time::Duration;

use jiff::Timestamp;
use kube::runtime::controller::Action;

use crate::{
    backend::BackendError,
    controller::{
        events::{self, Notice},
        ledger::Entry,
        tasks::{TaskKind, TaskState},
        workspace::{
            plan::{DeletionPlan, plan_removal},
            problem::Problem,
        },
    },
};

use super::{pass::Pass, phase::Step, record::RecordedBody, status::Progress};

/// How long a pass waits for a removal before it goes on elsewhere.
const PATIENCE: Duration = Duration::from_secs(2);
/// Longest time between two tries while a deletion waits for its backend.
const LONGEST_WAIT: Duration = Duration::from_secs(15);

impl Pass<'_> {
    /// Goes on with the deletion as far as possible.
    pub(super) async fn remove(&mut self) -> Result<Action, kube::Error> {
        let Some(request) = self.subject.deletion.clone().filter(|_| self.subject.has_finalizer) else {
            return self.release().await;
        };
        let mut searched: Option<Result<(), BackendError>> = None;
        if !self.patience_ended() && !self.creation_has_ended().await {
            return Ok(Action::requeue(LONGEST_WAIT));
        }
        loop {
            self.observe_body().await;
            let plan = plan_removal(
                &request,
                self.record.body.is_some(),
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
                        Some(Err(_)) if self.patience_ended() => {
                            self.write_ledger().await?;
                            return self.release().await;
                        }
                        Some(Err(error)) => return self.wait_for_backend(error.into()).await,
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

    /// Looks for a container whose id is not in the status.
    async fn find_for_removal(&mut self) -> Result<(), BackendError> {
        for (name, backend) in &self.context.backends {
            if let Some(found) = backend.find(&self.subject.owner).await?.into_iter().next() {
                self.record.body = Some(RecordedBody {
                    id: found.body.id,
                    backend: name.clone(),
                    node: found.body.host,
                    number: found.body.known.number,
                    storage: None,
                    state: None,
                    fingerprint: String::new(),
                    built_generation: 0,
                });
                return Ok(());
            }
        }
        Ok(())
    }

    /// Waits for a creation that is under way: what it has not made yet could not be removed.
    pub(super) async fn creation_has_ended(&self) -> bool {
        let tasks = &self.context.tasks;
        if !tasks.is_running(self.uid(), TaskKind::Create) {
            return true;
        }
        if let Some((backend, body)) = self.home() {
            backend.give_up_creation(body.id);
        }
        let ended =
            tasks.run(self.uid(), TaskKind::Create, &self.subject.key, PATIENCE, |_| async { Ok(None) });
        matches!(ended.await, TaskState::Done(_))
    }

    /// Removes the container, or the template that it became; `None` while that still goes on.
    pub(super) async fn remove_body(&self) -> Option<Result<(), BackendError>> {
        let Some((backend, body)) = self.home() else { return Some(Ok(())) };
        let work = |_| async move { backend.remove(&body, false).await.map(|()| None) };
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

    async fn wait_for_backend(&mut self, problem: Problem) -> Result<Action, kube::Error> {
        self.context.metrics.failed(problem.reason);
        tracing::warn!(reason = problem.reason, message = problem.message, "the deletion waits");
        self.say(None, &Progress::Deleting(Some(problem))).await?;
        let stage = self.record.step.unwrap_or(Step::Initializing).as_str();
        let delay = self.context.backoff.failed(self.uid(), &self.backoff_subject(), stage);
        let since =
            self.subject.deletion.as_ref().map(|request| Timestamp::now().duration_since(request.since));
        let waited = since.and_then(|since| Duration::try_from(since).ok()).unwrap_or_default();
        let left = self.limits().deletion.saturating_sub(waited).max(Duration::from_millis(200));
        Ok(Action::requeue(delay.min(LONGEST_WAIT).min(left)))
    }

    async fn write_ledger(&self) -> Result<(), kube::Error> {
        let body = self.record.body.as_ref();
        let entry = Entry {
            owner: self.subject.owner.clone(),
            backend: body.map(|body| body.backend.clone()),
            host: body.map(|body| body.node.clone()),
            id: body.map(|body| body.id.to_string()),
            number: body.and_then(|body| body.number),
            everything: true,
            since: Timestamp::now().to_string(),
        };
        self.context.ledger.add(&entry).await?;
        tracing::warn!(?entry, "the backend does not answer: what is left to remove is in the ledger");
        let notice = Notice {
            warning: true,
            reason: "RemovalPostponed".to_owned(),
            note: "the backend does not answer; the template is removed when it does".to_owned(),
        };
        events::publish(&self.context.client, &self.context.identity, &*self.object, notice).await;
        Ok(())
    }

    /// Takes our finalizer off.
    async fn release(&mut self) -> Result<Action, kube::Error> {
        let uid = self.uid().to_owned();
        let body = self.record.body.as_ref().map(|body| body.id);
        if self.subject.has_finalizer {
            match self.set_finalizer(false).await {
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                other => other?,
            }
        }
        self.context.forget(&uid, body);
        Ok(Action::await_change())
    }
}
