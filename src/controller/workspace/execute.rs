//! Carrying out one planned action. What is learnt goes into the record; the next plan, made from
//! a new look at the backend, decides how to go on.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::{
    api::{Configured, GitStatus, Operation, condition},
    backend::{ContainerRef, DnsMode, Guest, Incarnation, JobState, identity},
    config::BackendConfig,
    controller::{
        context::TaskResult,
        tasks::{TaskKind, TaskState},
    },
    provision::{self, CloneRequest},
};

use super::{
    JOB_CLONE, OPERATION_CLONE, agent,
    pass::{CRASHES, Pass},
    phase::Step,
    plan::{Crash, Observed, Plan, Search, clone_handle, clone_job_on},
    power::PowerState,
    problem::Problem,
    record::RecordedBody,
    references::References,
    status::Progress,
    validate::Desired,
};

/// How long a pass waits for something that is usually over at once.
const PATIENCE: Duration = Duration::from_millis(400);
/// Time between two progress messages in the status.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(10);
/// Reason of a clone job that vanished.
const INTERRUPTED: &str = "CloneInterrupted";
/// Time between two looks at an agent that has no link yet; a link is noticed at once.
const AGENT_INTERVAL: Duration = Duration::from_secs(2);
/// How long one look at a job waits for its end.
const JOB_PATIENCE: Duration = Duration::from_secs(5);

/// How a pass goes on after an action.
pub enum Flow {
    /// Look again and plan anew, now.
    Continue,
    /// Something goes on outside; look again at the latest after this time.
    Wait {
        /// What to say meanwhile.
        progress: Progress,
        /// The time.
        look_again: Duration,
    },
}

/// Why an action ends the pass.
pub enum Stop {
    /// It failed in this step.
    Problem(Step, Problem),
    /// The API server did not take a write.
    Api(kube::Error),
}

impl From<kube::Error> for Stop {
    fn from(error: kube::Error) -> Self {
        Self::Api(error)
    }
}

/// Gives an error its step.
pub(super) fn at<E: Into<Problem>>(step: Step) -> impl FnOnce(E) -> Stop {
    move |error| Stop::Problem(step, error.into())
}

impl Pass<'_> {
    /// Carries out the plan.
    pub(super) async fn execute(&mut self, desired: &Desired, plan: Plan) -> Result<Flow, Stop> {
        match plan {
            Plan::AddFinalizer => {
                self.set_finalizer(true).await?;
                self.context.note_without_body(self.uid(), true);
                Ok(Flow::Continue)
            }
            Plan::Find => self.find(desired).await,
            Plan::Assign => self.assign(desired).await,
            Plan::Adopt(incarnation) => {
                self.change_incarnation(incarnation);
                self.record.container_seen = true;
                Ok(Flow::Continue)
            }
            Plan::NextIncarnation => {
                self.next_incarnation();
                Ok(Flow::Continue)
            }
            Plan::RemoveContainer(incarnation) => {
                let (backend, container) = self.container(incarnation, Step::CreatingContainer)?;
                backend.remove_container(&container).await.map_err(at(Step::CreatingContainer))?;
                Ok(Flow::Continue)
            }
            Plan::CreateContainer => self.create(desired).await,
            Plan::StartContainer { crash } => self.start(crash).await,
            Plan::Wait { step, message, look_again } => {
                Ok(Flow::Wait { progress: Progress::Doing { step, message: Some(message) }, look_again })
            }
            Plan::Configure => self.configure(desired).await,
            Plan::StartClone => self.start_clone(desired).await,
            Plan::CheckAgent(sight) => self.check_agent(sight).await,
            Plan::WatchClone => self.watch_clone().await,
            Plan::Stop => self.stop(Progress::Stopping).await,
            Plan::Restart => self.stop(Progress::Restarting).await,
            Plan::NoteRestart => {
                self.note_restart(desired);
                Ok(Flow::Continue)
            }
            Plan::Settled(_) | Plan::Blocked(..) | Plan::Stalled => Ok(Flow::Continue),
        }
    }

    pub(super) fn present(&self) -> Incarnation {
        self.record.body.as_ref().map_or(Incarnation::FIRST, |body| body.incarnation)
    }

    pub(super) fn container(
        &self,
        incarnation: Incarnation,
        step: Step,
    ) -> Result<(crate::backend::SharedBackend, ContainerRef), Stop> {
        let (backend, body) = self.place().ok_or_else(|| {
            let problem = Problem::transient(
                condition::BACKEND_READY,
                "BackendUnreachable",
                "the workspace has no place on a backend",
            );
            Stop::Problem(step, problem)
        })?;
        Ok((backend, ContainerRef { body, incarnation }))
    }

    async fn guest(&mut self, step: Step) -> Result<Box<dyn Guest>, Stop> {
        let (backend, container) = self.container(self.present(), step)?;
        let guest = backend.guest(&container).await.map_err(at(step))?;
        if self.record.host_key.is_none() {
            self.record.host_key = guest.host_key();
        }
        Ok(guest)
    }

    /// `startedAt` of the running container.
    fn boot(&self) -> String {
        let incarnation = self.present();
        match &self.observed {
            Observed::Body(body) => body
                .containers
                .iter()
                .find(|container| container.incarnation == incarnation)
                .and_then(|container| container.started_at.clone())
                .unwrap_or_default(),
            _ => String::new(),
        }
    }

    /// Searches every backend for what was made before the status was lost.
    async fn find(&mut self, desired: &Desired) -> Result<Flow, Stop> {
        let mut found = Vec::new();
        for (name, backend) in &self.context.backends {
            let bodies = backend.find(&self.subject.owner).await.map_err(at(Step::Initializing))?;
            found.extend(bodies.into_iter().map(|body| (name.clone(), body)));
        }
        self.search = Search::NotNeeded;
        match found.as_slice() {
            [] => self.context.note_without_body(self.uid(), true),
            [(backend, one)] => {
                tracing::info!(id = %one.body.id, host = one.body.host, "found again on its backend");
                self.record.container_seen = one.incarnation.0 > 0;
                self.record.restart_nonce.clone_from(&desired.restart_nonce);
                self.record.body = Some(RecordedBody {
                    id: one.body.id,
                    incarnation: one.incarnation.max(Incarnation::FIRST),
                    backend: backend.clone(),
                    host: one.body.host.clone(),
                    number: one.body.known.number,
                    resolved: desired.resolved.clone(),
                    template: desired.template.as_ref().map(|template| template.snapshot.clone()),
                });
            }
            several => {
                let ids: Vec<String> = several.iter().map(|(_, one)| one.body.id.to_string()).collect();
                let message =
                    format!("several bodies on the backends claim this workspace: {}", ids.join(", "));
                let problem = Problem::permanent(condition::CONTAINER_READY, "AmbiguousOwner", message)
                    .hint("remove all but one of them by hand");
                return Err(Stop::Problem(Step::Initializing, problem));
            }
        }
        Ok(Flow::Continue)
    }

    fn change_incarnation(&mut self, incarnation: Incarnation) {
        if let Some(body) = &mut self.record.body {
            body.incarnation = incarnation;
        }
        self.record.configured = None;
        self.record.resolv_conf = None;
        self.record.clone_job = None;
        self.record.seen_boot = None;
        self.record.host_key = None;
    }

    fn next_incarnation(&mut self) {
        let kept = match (&self.observed, self.record.body.as_ref()) {
            (Observed::Body(seen), Some(body)) => {
                let [workspace, _] = identity::volume_names(body.id);
                seen.volumes.contains(&workspace)
            }
            _ => true,
        };
        if !kept {
            self.record.git = None;
        }
        self.change_incarnation(self.present().next());
        self.record.container_seen = false;
    }

    /// Runs a task; `None` when it has ended well.
    pub(super) async fn wait_for<F, Fut>(
        &self,
        kind: TaskKind,
        step: Step,
        start: F,
    ) -> Result<Option<Flow>, Stop>
    where
        F: FnOnce(tokio::sync::watch::Sender<String>) -> Fut,
        Fut: Future<Output = TaskResult> + Send + 'static,
    {
        match self.context.tasks.run(self.uid(), kind, &self.subject.key, PATIENCE, start).await {
            TaskState::Done(Ok(_)) => Ok(None),
            TaskState::Done(Err(error)) => Err(at(step)(error)),
            TaskState::Running(message) => {
                let message = Some(message).filter(|message| !message.is_empty());
                let progress = Progress::Doing { step, message };
                Ok(Some(Flow::Wait { progress, look_again: PROGRESS_INTERVAL }))
            }
        }
    }

    async fn start(&mut self, crash: Option<Crash>) -> Result<Flow, Stop> {
        let step = Step::StartingContainer;
        if let Some(crash) = crash {
            let problem = crashed(&crash);
            let known = self.object.status.as_ref().and_then(|status| status.error.as_ref());
            if known.is_none_or(|error| error.reason != problem.reason) {
                return Err(Stop::Problem(step, problem));
            }
        }
        let (backend, container) = self.container(self.present(), step)?;
        backend.start(&container).await.map_err(at(step))?;
        Ok(Flow::Continue)
    }

    async fn configure(&mut self, desired: &Desired) -> Result<Flow, Stop> {
        let step = Step::ConfiguringNetwork;
        let mut references = References::new(self.context.client.clone());
        let environment = references.environment(&desired.env).await.map_err(at(step))?;
        let Some(body) = &self.record.body else { return Ok(Flow::Continue) };
        let backend = self.context.config.backend(&body.backend);
        let proxy = backend.and_then(|backend| backend.surroundings().proxy.cloned()).unwrap_or_default();
        let setup = provision::Setup {
            name: self.subject.owner.name.clone(),
            namespace: self.subject.owner.namespace.clone(),
            user: body.resolved.user.clone(),
            environment,
            extra_ca: self.context.ca_bundles.get(&body.backend).cloned(),
            proxy: provision::Proxy { http: proxy.http, https: proxy.https, no_proxy: proxy.no_proxy },
            git: provision::GitIdentity {
                name: desired.git.user_name.clone(),
                email: desired.git.user_email.clone(),
            },
            dns: desired.infrastructure.dns_mode.map(|mode| dns(desired, mode, backend)),
            agent: None,
        };
        let setup = provision::Setup { agent: self.agent_setup(step).await?, ..setup };
        let boot = self.boot();
        let agent = self.expect_agent(&boot);
        let guest = self.guest(step).await?;
        let reached = provision::configure(guest.as_ref(), &setup)
            .await
            .map_err(|error| Stop::Problem(step, Problem::provision(condition::ENVIRONMENT_READY, error)))?;
        self.record.resolv_conf = reached.resolv_conf;
        self.record.configured =
            Some(Configured { started_at: boot, generation: desired.subject.generation, agent });
        Ok(Flow::Continue)
    }

    /// Settings and token of the workspace's agent, whose program is in its place by then.
    async fn agent_setup(&self, step: Step) -> Result<Option<provision::AgentSetup>, Stop> {
        let Some(body) = &self.record.body else { return Ok(None) };
        let (backend, container) = self.container(body.incarnation, step)?;
        let Some(delivery) = self.context.delivery.as_ref().filter(|_| backend.brings_agents()) else {
            return Ok(None);
        };
        let program = backend.deliver_agent(&container).await.map_err(at(step))?;
        let setup = delivery.setup(body.id, body.incarnation, &body.resolved.user, program);
        setup.map(Some).ok_or_else(|| {
            let words = "the container was made without an agent, and can not get one";
            let problem = Problem::permanent(condition::AGENT_CONNECTED, "AgentMissing", words)
                .hint("delete the container on its host: the workspace gets a new one with the same volumes");
            Stop::Problem(step, problem)
        })
    }

    /// Begins to wait for the agent of a boot of the container. Returns what it is set up with.
    fn expect_agent(&self, boot: &str) -> Option<String> {
        let body = self.record.body.as_ref()?;
        let brings = self.context.backends.get(&body.backend)?.brings_agents();
        let delivery = self.context.delivery.as_ref().filter(|_| brings)?;
        let known = self.record.configured.as_ref().is_some_and(|configured| configured.started_at == boot);
        if !known {
            self.context.agents.note(body.id, |agent| agent.expect(boot, std::time::Instant::now()));
        }
        Some(delivery.version())
    }

    /// Looks from inside why the agent has no link.
    async fn check_agent(&mut self, sight: agent::Sight) -> Result<Flow, Stop> {
        let step = Step::StartingAgent;
        let guest = self.guest(step).await?;
        let status = provision::agent_status(guest.as_ref())
            .await
            .map_err(|error| Stop::Problem(step, Problem::provision(condition::AGENT_CONNECTED, error)))?;
        match agent::diagnosis(status, sight) {
            Ok((step, message)) => {
                let progress = Progress::Doing { step, message: Some(message) };
                Ok(Flow::Wait { progress, look_again: AGENT_INTERVAL })
            }
            Err((step, problem)) => Err(Stop::Problem(step, problem)),
        }
    }

    async fn start_clone(&mut self, desired: &Desired) -> Result<Flow, Stop> {
        let step = Step::CloningRepository;
        let Some(repository) = desired.repository.clone() else { return Ok(Flow::Continue) };
        let Some(body) = &self.record.body else { return Ok(Flow::Continue) };
        let mut references = References::new(self.context.client.clone());
        let credential =
            references.git_credential(&self.subject.owner.namespace, &repository).await.map_err(at(step))?;
        let request = CloneRequest {
            url: repository.url,
            branch: repository.branch,
            depth: repository.depth,
            submodules: repository.submodules,
            credential,
            known_hosts: repository.known_hosts,
            user: body.resolved.user.clone(),
        };
        let mut job = provision::clone_job(&request);
        job.name = format!("{JOB_CLONE}-{}", hex::encode(rand::random::<[u8; 4]>()));
        self.record.clone_job = Some(Operation {
            kind: OPERATION_CLONE.to_owned(),
            handle: clone_handle(&job.name, &self.boot()),
            started_at: Time(Timestamp::now()),
        });
        self.say(Some(desired), &Progress::Doing { step, message: None }).await?;
        let guest = self.guest(step).await?;
        guest.start_job(job).await.map_err(at(step))?;
        Ok(Flow::Continue)
    }

    async fn watch_clone(&mut self) -> Result<Flow, Stop> {
        let step = Step::CloningRepository;
        let boot = self.boot();
        let Some(name) = self
            .record
            .clone_job
            .as_ref()
            .and_then(|operation| clone_job_on(&operation.handle, &boot))
            .map(str::to_owned)
        else {
            return Ok(Flow::Continue);
        };
        let (backend, container) = self.container(self.present(), step)?;
        let watch = |progress: tokio::sync::watch::Sender<String>| async move {
            let guest = backend.guest(&container).await?;
            loop {
                match guest.look_at_job(&name, JOB_PATIENCE).await? {
                    JobState::Running { output } => {
                        let _ = progress.send(provision::progress(&output).unwrap_or_default());
                    }
                    ended => return Ok(Some(ended)),
                }
            }
        };
        let state = self
            .context
            .tasks
            .run(self.uid(), TaskKind::WatchClone, &self.subject.key, Duration::ZERO, watch)
            .await;
        match state {
            TaskState::Running(message) => {
                let message = Some(message).filter(|message| !message.is_empty());
                Ok(Flow::Wait { progress: Progress::Doing { step, message }, look_again: PROGRESS_INTERVAL })
            }
            TaskState::Done(Err(error)) => Err(at(step)(error)),
            TaskState::Done(Ok(Some(JobState::Exited { code, output }))) => {
                self.record.clone_job = None;
                let checkout = provision::outcome(code, &output).map_err(|error| {
                    Stop::Problem(step, Problem::provision(condition::REPOSITORY_READY, error))
                })?;
                self.record.git = Some(GitStatus { branch: checkout.branch, head: checkout.head });
                Ok(Flow::Continue)
            }
            // Nothing of the job is left: it never began, or died with its container.
            TaskState::Done(Ok(_)) => {
                self.record.clone_job = None;
                if self.failed_to_start_job() {
                    return Ok(Flow::Continue);
                }
                let problem = Problem::transient(
                    condition::REPOSITORY_READY,
                    INTERRUPTED,
                    "the clone was interrupted before it ended",
                );
                Err(Stop::Problem(step, problem))
            }
        }
    }

    /// Whether the job is gone because its start failed: that failure has been waited for already.
    /// A start that succeeds clears the error, so a job that vanishes again and again is not
    /// started without a wait.
    fn failed_to_start_job(&self) -> bool {
        let error = self.object.status.as_ref().and_then(|status| status.error.as_ref());
        error.is_some_and(|error| error.retryable && error.reason != INTERRUPTED)
    }

    /// A failure that stood before a restart does not stand after it, and a container that was
    /// stopped for it has not crashed.
    fn note_restart(&mut self, desired: &Desired) {
        self.record.restart_nonce.clone_from(&desired.restart_nonce);
        if let Some(power) = &mut self.record.power
            && power.state == PowerState::Restarting
        {
            power.state = PowerState::Running;
        }
        self.record.seen_boot = None;
        self.record.standing = None;
    }

    async fn stop(&mut self, progress: Progress) -> Result<Flow, Stop> {
        let step = self.record.step.unwrap_or(Step::Ready);
        let (backend, container) = self.container(self.present(), step)?;
        let grace = self.context.config.timeouts.stop.0;
        let stop = |_| async move { backend.stop(&container, grace).await.map(|()| None) };
        match self.wait_for(TaskKind::Stop, step, stop).await? {
            Some(Flow::Wait { look_again, .. }) => Ok(Flow::Wait { progress, look_again }),
            Some(Flow::Continue) | None => Ok(Flow::Continue),
        }
    }
}

/// The name resolution of a container, with the backend's servers where the Workspace names none.
fn dns(desired: &Desired, mode: DnsMode, backend: Option<&BackendConfig>) -> provision::DnsSetup {
    let own = desired.dns_servers.clone();
    let configured = || backend.and_then(|backend| backend.proxmox.as_ref()).map(|pve| pve.dns.servers());
    let servers = if own.is_empty() { configured().unwrap_or_default() } else { own };
    provision::DnsSetup { mode, servers }
}

fn crashed(crash: &Crash) -> Problem {
    let [out_of_memory, exited] = CRASHES;
    if crash.out_of_memory {
        return Problem::transient(
            condition::CONTAINER_READY,
            out_of_memory,
            "the container was killed because its memory limit was reached",
        )
        .hint("raise resources.memory");
    }
    Problem::transient(
        condition::CONTAINER_READY,
        exited,
        format!("the container ended by itself with exit code {}", crash.exit_code),
    )
    .hint("it is started again")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case::of_the_workspace(&["9.9.9.9"], "{servers: [1.1.1.1]}", &["9.9.9.9"])]
    #[case::of_the_configuration(&[], "{servers: [1.0.0.1]}", &["1.0.0.1"])]
    #[case::of_nobody(&[], "{}", &["8.8.8.8", "1.1.1.1"])]
    fn name_servers(#[case] own: &[&str], #[case] configured: &str, #[case] expected: &[&str]) {
        let text = format!(
            "name: pve\nproxmox:\n  endpoints: ['https://pve1:8006']\n  token: {{id: 'a@pve!b', secretFile: /s}}\n  ssh: {{keyFile: /k}}\n  dns: {configured}"
        );
        let backend: BackendConfig = serde_yaml::from_str(&text).unwrap();
        let addresses = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        let desired = Desired { dns_servers: addresses(own), ..super::super::fixtures::desired() };
        let setup = dns(&desired, DnsMode::Tailscale, Some(&backend));
        assert_eq!(setup, provision::DnsSetup { mode: DnsMode::Tailscale, servers: addresses(expected) });
    }
}
