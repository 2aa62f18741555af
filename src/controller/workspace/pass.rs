//! One pass over one Workspace.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use kube::{ResourceExt, runtime::controller::Action};
use tracing::Instrument;

use crate::{
    api::{PowerStatus, Workspace, WorkspaceStatus},
    backend::{BackendError, BodyRef, Known, Reason, RunState, SharedBackend},
    controller::{
        backoff::with_jitter,
        commands::{Answer, Command, ForgottenHostKey},
        context::Context,
    },
};

use super::{
    agent::{self, Expected, Sight},
    execute::Flow,
    phase::{Phase, Step},
    plan::{self, Limits, Observed, Plan, Search},
    power::{self, Power, Refusal},
    problem::Problem,
    record::Record,
    status::{self, AgentSight, Progress, Situation},
    validate::{self, Desired, Subject},
};

/// Actions of one pass. A healthy Workspace needs a dozen from nothing to Ready; more than this
/// means that two of them undo each other, and the next pass had better come later.
const MAX_ACTIONS: usize = 32;

/// Reasons of a container that ended by itself.
pub(super) const CRASHES: [&str; 2] = ["OutOfMemory", "ContainerExited"];

/// Why a pass could not say what it found.
#[derive(Debug, thiserror::Error)]
pub enum PassError {
    /// The API server did not take a write.
    #[error("writing to the API server failed: {0}")]
    Api(#[from] kube::Error),
}

/// Works on one Workspace until nothing more can be done at once.
pub async fn reconcile(workspace: Arc<Workspace>, context: Arc<Context>) -> Result<Action, PassError> {
    let workspace = context.objects.freshest(workspace);
    let span = tracing::info_span!(
        "reconcile",
        workspace = format!("{}/{}", workspace.namespace().unwrap_or_default(), workspace.name_any()),
        trace_id = format!("{:032x}", rand::random::<u128>()),
    );
    let started = std::time::Instant::now();
    let mut pass = Pass::new(&context, workspace);
    let result = pass.run().instrument(span).await;
    context.metrics.reconciled("Workspace", result.is_ok(), started.elapsed());
    result
}

/// A pass under way.
pub struct Pass<'a> {
    pub(super) context: &'a Context,
    pub(super) object: Arc<Workspace>,
    pub(super) subject: Subject,
    pub(super) record: Record,
    pub(super) search: Search,
    pub(super) observed: Observed,
}

impl<'a> Pass<'a> {
    fn new(context: &'a Context, object: Arc<Workspace>) -> Self {
        let subject = Subject::parse(&object);
        let record = Record::parse(object.status.as_ref());
        let known = !subject.has_finalizer || context.is_without_body(&subject.owner.uid);
        let search = if known { Search::NotNeeded } else { Search::Needed };
        let pass = Self { context, object, subject, record, search, observed: Observed::Nothing };
        pass.remember_body();
        pass
    }

    async fn run(&mut self) -> Result<Action, PassError> {
        self.obey().await?;
        if self.subject.deletion.is_some() {
            return self.remove().await;
        }
        if let Some(left) = self.remaining_wait() {
            return Ok(Action::requeue(left));
        }
        for _ in 0..MAX_ACTIONS {
            self.drop_void_command();
            let desired = match validate::validate(
                &self.object,
                self.subject.clone(),
                &self.record,
                &self.context.config,
                &self.context.objects,
            ) {
                Ok(desired) => desired,
                Err(problem) => {
                    self.observe().await;
                    return self.fail(None, Step::Initializing, problem).await;
                }
            };
            self.observe().await;
            self.see();
            self.resolve_anew(&desired);
            let now = Timestamp::now();
            let agent = self.expected_agent();
            let plan =
                plan::plan(&desired, &self.record, &self.observed, self.search, &agent, self.limits(), now);
            tracing::debug!(?plan, "planned");
            if !matches!(plan, Plan::CreateContainer) {
                self.record.backend_task = None;
            }
            if let Some(progress) = self.announce(&plan) {
                self.say(Some(&desired), &progress).await?;
            }
            let flow = match plan {
                Plan::Blocked(_, problem) if self.is_hiccup(&problem) => return Ok(self.look_twice(&problem)),
                Plan::Blocked(step, problem) => return self.fail(Some(&desired), step, problem).await,
                Plan::Settled(_) | Plan::Stalled => return Ok(self.settle(&agent)),
                plan => self.execute(&desired, plan).await,
            };
            match flow {
                Ok(Flow::Continue) => {}
                Ok(Flow::Wait { progress, look_again }) => {
                    self.say(Some(&desired), &progress).await?;
                    return Ok(Action::requeue(look_again));
                }
                Err(super::execute::Stop::Problem(step, problem)) => {
                    return self.fail(Some(&desired), step, problem).await;
                }
                Err(super::execute::Stop::Api(error)) => return Err(error.into()),
            }
        }
        tracing::warn!("the pass took too many actions; it goes on later");
        Ok(Action::requeue(with_jitter(Duration::from_secs(5))))
    }

    /// Takes the commands that were given since the last pass. Each is written down before
    /// anything is done for it, and whoever waited to try again tries now.
    async fn obey(&mut self) -> Result<(), kube::Error> {
        for order in self.context.commands.take(self.uid()) {
            let answer = match order.command {
                _ if self.subject.deletion.is_some() => Err(Refusal::Deleted),
                Command::Power(command) => match self.decide(command, &order.by) {
                    Ok(power) => Ok(Answer::Power(self.write_down(power).await?)),
                    Err(refusal) => Err(refusal),
                },
                Command::ResetHostKey => Ok(Answer::HostKey(self.forget_host_key().await?)),
            };
            let _ = order.answer.send(answer);
        }
        Ok(())
    }

    fn decide(&mut self, command: power::Command, by: &str) -> Result<Power, Refusal> {
        self.drop_void_command();
        let mode = self.object.spec.operating_mode;
        let before = self.record.power.as_ref();
        power::decide(command, mode, before, by, Timestamp::now(), self.subject.generation)
    }

    async fn write_down(&mut self, power: Power) -> Result<PowerStatus, kube::Error> {
        let written = power.written();
        self.record.power = Some(power);
        let before = self.status();
        let after = WorkspaceStatus { power: Some(written.clone()), ..before.clone() };
        self.write_command(&before, after).await?;
        Ok(written)
    }

    /// What stood because another key was shown does not stand any more.
    async fn forget_host_key(&mut self) -> Result<ForgottenHostKey, kube::Error> {
        let forgotten_host_key = self.record.host_key.take();
        let before = self.status();
        let mut after = before.clone();
        if let Some(container) = &mut after.container {
            container.ssh_host_key = None;
        }
        let changed = Reason::HostKeyChanged.as_str();
        if after.error.take_if(|error| error.reason == changed).is_some() {
            self.record.standing = None;
        }
        self.write_command(&before, after).await?;
        Ok(ForgottenHostKey { forgotten_host_key })
    }

    async fn write_command(
        &mut self,
        before: &WorkspaceStatus,
        after: WorkspaceStatus,
    ) -> Result<(), kube::Error> {
        if status::differs(before, &after) {
            self.write_status(before, after).await?;
        }
        self.context.backoff.clear(self.uid());
        self.context.crashes.clear(self.uid());
        Ok(())
    }

    /// A command counts until the operating mode is changed.
    fn drop_void_command(&mut self) {
        let mode = self.object.spec.operating_mode;
        let observed = self.object.status.as_ref().and_then(|status| status.observed_generation);
        let generation = self.subject.generation;
        self.record.power = self.record.power.take().filter(|power| power.holds(mode, generation, observed));
    }

    pub(super) fn uid(&self) -> &str {
        &self.subject.owner.uid
    }

    pub(super) fn limits(&self) -> Limits {
        let timeouts = &self.context.config.timeouts;
        Limits { ip: timeouts.ip.0, deletion: timeouts.deletion.0 }
    }

    pub(super) fn backoff_subject(&self) -> String {
        format!("{}/{}", self.subject.generation, self.subject.retry_nonce.as_deref().unwrap_or_default())
    }

    pub(super) fn status(&self) -> WorkspaceStatus {
        self.object.status.clone().unwrap_or_default()
    }

    /// The backend and the body on it, once there is one.
    pub(super) fn place(&self) -> Option<(SharedBackend, BodyRef)> {
        let body = self.record.body.as_ref()?;
        let backend = self.context.backends.get(&body.backend)?;
        let reference = BodyRef {
            host: body.host.clone(),
            id: body.id,
            owner: self.subject.owner.clone(),
            known: Known { number: body.number, host_key: self.record.host_key.clone() },
        };
        Some((Arc::clone(backend), reference))
    }

    /// Asks the backend what is there.
    pub(super) async fn observe(&mut self) {
        self.observed = match self.place() {
            None if self.record.body.is_some() => Observed::Failed(BackendError::new(
                Reason::Unreachable,
                "the operator's configuration no longer has this workspace's backend",
            )),
            None => Observed::Nothing,
            Some((backend, body)) => match backend.inspect(&body).await {
                Ok(found) => Observed::Body(found),
                Err(error) => Observed::Failed(error),
            },
        };
    }

    /// Notes in the record what was observed, so that the next plan can tell a container that
    /// went away from one that never was.
    fn see(&mut self) {
        let Some(body) = &self.record.body else { return };
        if let Observed::Body(seen) = &self.observed
            && let Some(container) = seen.containers.iter().find(|one| one.incarnation == body.incarnation)
        {
            self.record.container_seen = true;
            if container.state == RunState::Running {
                self.record.seen_boot.clone_from(&container.started_at);
            }
        }
    }

    /// Until there is a container, a corrected Template or spec still counts.
    fn resolve_anew(&mut self, desired: &Desired) {
        if self.record.is_unmade()
            && let (Some(body), Some(template)) = (&mut self.record.body, &desired.template)
        {
            body.resolved = desired.resolved.clone();
            body.template = Some(template.snapshot.clone());
        }
    }

    pub(super) fn remember_body(&self) {
        if let Some(body) = &self.record.body {
            self.context.note_body(body.id, self.subject.key.clone());
        }
    }

    /// What to say before the planned action is carried out; nothing where it is over at once and
    /// the next plan has more to say.
    fn announce(&self, plan: &Plan) -> Option<Progress> {
        let doing = |step: Step| {
            let retrying = self.object.status.as_ref().and_then(|status| status.error.as_ref());
            match retrying {
                Some(error) if error.retryable && error.step == step.as_str() => Progress::Retrying { step },
                _ => Progress::Doing { step, message: None },
            }
        };
        match plan {
            Plan::AddFinalizer
            | Plan::Find
            | Plan::Assign
            | Plan::Adopt(_)
            | Plan::NextIncarnation
            | Plan::NoteRestart => None,
            Plan::RemoveContainer(_) | Plan::CreateContainer => Some(doing(Step::CreatingContainer)),
            Plan::StartContainer { .. } => Some(doing(Step::StartingContainer)),
            Plan::Wait { step, message, .. } => {
                Some(Progress::Doing { step: *step, message: Some(message.clone()) })
            }
            Plan::Configure => Some(doing(Step::ConfiguringNetwork)),
            // Said by the action itself, together with the job's handle.
            Plan::StartClone | Plan::WatchClone | Plan::CheckAgent(_) => None,
            Plan::Stop => Some(Progress::Stopping),
            Plan::Restart => Some(Progress::Restarting),
            Plan::Settled(settled) => Some(Progress::Settled(*settled)),
            Plan::Blocked(..) | Plan::Stalled => None,
        }
    }

    /// Writes the status that goes with this progress, if it differs from the present one, and
    /// publishes what changed for people.
    pub(super) async fn say(
        &mut self,
        desired: Option<&Desired>,
        progress: &Progress,
    ) -> Result<(), kube::Error> {
        self.keep_deadline(desired, progress);
        let before = self.status();
        let situation = Situation {
            subject: &self.subject,
            desired,
            record: &self.record,
            observed: &self.observed,
            agent: self.linked_agent(),
            worked_at: self.worked_at(),
            progress,
            now: Timestamp::now(),
        };
        let after = status::describe(&before, &situation);
        if status::differs(&before, &after) {
            self.write_status(&before, after).await?;
        }
        Ok(())
    }

    fn worked_at(&self) -> Option<Timestamp> {
        let body = self.record.body.as_ref()?;
        self.context.agents.get(body.id).activity?.last()
    }

    /// The agent that has a link, where the workspace is to have one.
    fn linked_agent(&self) -> AgentSight {
        match self.expected_agent().sight {
            Sight::NotUsed => AgentSight::NotUsed,
            Sight::Linked => {
                let id = self.record.body.as_ref().map(|body| body.id);
                let link = id.and_then(|id| self.context.agents.get(id).link);
                link.map_or(AgentSight::Missing, |link| AgentSight::Linked(link.agent))
            }
            Sight::Awaited | Sight::Overdue => AgentSight::Missing,
        }
    }

    /// The time for provisioning runs from the first action to Ready, but not while the backend
    /// does not answer.
    fn keep_deadline(&mut self, desired: Option<&Desired>, progress: &Progress) {
        let provisioning = !matches!(
            self.record.phase,
            Some(Phase::Running | Phase::Degraded | Phase::Suspending | Phase::Suspended | Phase::Resuming)
        );
        self.record.provision_deadline = match progress {
            Progress::Doing { .. } | Progress::Retrying { .. }
                if provisioning && self.record.body.is_some() =>
            {
                let timeout = desired.map(|desired| desired.provision_timeout).unwrap_or_default();
                self.record.provision_deadline.or_else(|| Timestamp::now().checked_add(timeout).ok())
            }
            Progress::Failed { problem, .. }
                if problem.is_transient() && problem.reason != Reason::Unreachable.as_str() =>
            {
                self.record.provision_deadline
            }
            _ => None,
        };
    }

    /// Says what is wrong, and when to try again.
    pub(super) async fn fail(
        &mut self,
        desired: Option<&Desired>,
        step: Step,
        problem: Problem,
    ) -> Result<Action, PassError> {
        self.context.metrics.failed(problem.reason);
        tracing::warn!(reason = problem.reason, step = step.as_str(), message = problem.message, "blocked");
        let (transient, crash) = (problem.is_transient(), CRASHES.contains(&problem.reason));
        self.say(desired, &Progress::Failed { step, problem }).await?;
        let subject = self.backoff_subject();
        Ok(Action::requeue(match (transient, crash) {
            (true, true) => self.context.crashes.failed(self.uid(), &subject, step.as_str()),
            (true, false) => self.context.backoff.failed(self.uid(), &subject, step.as_str()),
            (false, _) => with_jitter(self.context.config.controller.resync.0),
        }))
    }

    fn remaining_wait(&self) -> Option<Duration> {
        let subject = self.backoff_subject();
        let waits = [&self.context.backoff, &self.context.crashes];
        waits.into_iter().filter_map(|backoff| backoff.remaining(self.uid(), &subject)).max()
    }

    /// Whether a workspace that was well could not be looked at just once. That says nothing
    /// about it yet.
    fn is_hiccup(&self, problem: &Problem) -> bool {
        matches!(self.observed, Observed::Failed(_))
            && problem.is_transient()
            && matches!(self.record.phase, Some(Phase::Running | Phase::Suspended))
            && self.context.backoff.failures(self.uid(), &self.backoff_subject()) == 0
    }

    fn look_twice(&self, problem: &Problem) -> Action {
        self.context.metrics.failed(problem.reason);
        tracing::info!(reason = problem.reason, message = problem.message, "could not look; looking again");
        Action::requeue(self.context.backoff.failed(self.uid(), &self.backoff_subject(), "Looking"))
    }

    fn settle(&self, agent: &Expected) -> Action {
        self.context.backoff.clear(self.uid());
        let resync = with_jitter(self.context.config.controller.resync.0);
        match (agent.sight, &self.context.delivery) {
            // Nothing else tells that the time of grace is over.
            (Sight::Awaited, Some(delivery)) => {
                Action::requeue(resync.min(delivery.grace + Duration::from_millis(100)))
            }
            _ => Action::requeue(resync),
        }
    }

    /// The agent that the workspace is to have, and how it is seen now.
    fn expected_agent(&self) -> Expected {
        let Some((backend, body)) = self.place() else { return Expected::NONE };
        let Some(delivery) = self.context.delivery.as_ref().filter(|_| backend.brings_agents()) else {
            return Expected::NONE;
        };
        let agents = &self.context.agents;
        let settled = matches!(self.record.phase, Some(Phase::Running | Phase::Degraded));
        let sight = agent::sight(Some(delivery), &agents.get(body.id), agents, settled, Instant::now());
        Expected { version: Some(delivery.version()), sight }
    }
}
