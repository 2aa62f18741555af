//! Carrying out one planned action. What is learnt goes into the record; the next plan, made from
//! a new look at the backend, decides how to go on.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::{
    api::{self, Operation, condition},
    backend::{
        BodyId, ContainerRef, ContainerSpec, DnsMode, Incarnation, Infrastructure, JobState, Reason,
        SharedBackend, guest::last_line,
    },
    controller::{
        context::TaskResult,
        tasks::{TaskKind, TaskState},
        workspace::{
            placement,
            plan::{Observed, Search},
            problem::Problem,
        },
    },
    provision::{self, TemplateRequest},
};

use super::{
    OPERATION_CLEAN, OPERATION_PROVISION,
    pass::Pass,
    phase::{State, Step},
    plan::{Plan, job_handle, job_on},
    record::RecordedBody,
    status::Progress,
    validate::{Build, Wanted},
};

/// How long a pass waits for something that is usually over at once.
const PATIENCE: Duration = Duration::from_millis(400);
/// Time between two progress messages in the status.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(10);
/// How long one look at a job waits for its end.
const JOB_PATIENCE: Duration = Duration::from_secs(5);
/// Time between two looks at a container that gets its address.
const ADDRESS_INTERVAL: Duration = Duration::from_secs(1);

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
fn at<E: Into<Problem>>(step: Step) -> impl FnOnce(E) -> Stop {
    move |error| Stop::Problem(step, error.into())
}

impl Pass<'_> {
    /// Carries out the plan.
    pub(super) async fn execute(&mut self, build: &Build, wanted: &Wanted, plan: Plan) -> Result<Flow, Stop> {
        match plan {
            Plan::AddFinalizer => {
                self.set_finalizer(true).await?;
                self.context.note_without_body(self.uid(), true);
                self.search = Search::NotNeeded;
                Ok(Flow::Continue)
            }
            Plan::Find => self.find(build).await,
            Plan::Assign => self.assign(build),
            Plan::Reserve => self.reserve(build, wanted).await,
            Plan::Create => self.create(build).await,
            Plan::BeginAnew => {
                self.go_back_to(None);
                Ok(Flow::Continue)
            }
            Plan::Start => {
                let (backend, container) = self.container(Step::StartingContainer)?;
                backend.start(&container).await.map_err(at(Step::StartingContainer))?;
                Ok(Flow::Continue)
            }
            Plan::AwaitAddress => {
                let progress = Progress::Doing { step: Step::ConfiguringNetwork, message: None };
                Ok(Flow::Wait { progress, look_again: ADDRESS_INTERVAL })
            }
            Plan::StartProvisioning => self.start_provisioning(build, wanted).await,
            Plan::WatchProvisioning => self.watch_provisioning().await,
            Plan::Clean => self.clean(build, wanted).await,
            Plan::Stop => self.stop(Step::Converting).await,
            Plan::Convert => self.convert().await,
            Plan::Discard => self.discard(wanted).await,
            Plan::Stage | Plan::Usable | Plan::Stalled | Plan::Blocked(..) => Ok(Flow::Continue),
        }
    }

    fn container(&self, step: Step) -> Result<(SharedBackend, ContainerRef), Stop> {
        let (backend, body) = self.home().ok_or_else(|| {
            let words = "the Template has no place on a backend";
            Stop::Problem(step, Problem::transient(condition::BACKEND_READY, "BackendUnreachable", words))
        })?;
        Ok((backend, ContainerRef { body, incarnation: Incarnation::FIRST }))
    }

    /// `startedAt` of the container that runs.
    fn boot(&self) -> String {
        match &self.observed {
            Observed::Body(body) => {
                let container = body.containers.last();
                container.and_then(|container| container.started_at.clone()).unwrap_or_default()
            }
            Observed::Nothing | Observed::Failed(_) => String::new(),
        }
    }

    fn go_back_to(&mut self, state: Option<State>) {
        self.record.operation = None;
        self.record.staging_ip = None;
        if let Some(body) = &mut self.record.body {
            body.state = state;
        }
    }

    /// Searches every backend for what was made before the status was lost.
    async fn find(&mut self, build: &Build) -> Result<Flow, Stop> {
        let step = Step::Initializing;
        let mut found = Vec::new();
        for (name, backend) in &self.context.backends {
            let bodies = backend.find(&self.subject.owner).await.map_err(at(step))?;
            found.extend(bodies.into_iter().map(|body| (name.clone(), backend, body)));
        }
        self.search = Search::NotNeeded;
        let Some((name, backend, one)) = found.into_iter().next() else {
            self.context.note_without_body(self.uid(), true);
            return Ok(Flow::Continue);
        };
        tracing::info!(id = %one.body.id, node = one.body.host, "found again on its backend");
        // Only a template shows how far it had come; all else is done again.
        let state = match one.body.known.number {
            Some(number) => match backend.template(number).await {
                Ok(_) => Some(State::Converted),
                Err(error) if error.reason == Reason::TemplateMissing => None,
                Err(error) => return Err(at(step)(error)),
            },
            None => None,
        };
        self.record.body = Some(RecordedBody {
            id: one.body.id,
            backend: name,
            node: one.body.host,
            number: one.body.known.number,
            storage: None,
            state,
            fingerprint: build.fingerprint.clone(),
            built_generation: self.subject.generation,
        });
        Ok(Flow::Continue)
    }

    /// Chooses id and node.
    fn assign(&mut self, build: &Build) -> Result<Flow, Stop> {
        let unreachable = |words: String| {
            let problem = Problem::transient(condition::BACKEND_READY, "BackendUnreachable", words);
            Stop::Problem(Step::Initializing, problem)
        };
        let backend = self.context.backends.get(&build.backend);
        let backend =
            backend.ok_or_else(|| unreachable(format!("backend {:?} is not there", build.backend)))?;
        let hosts = backend.hosts();
        let node = placement::place(&hosts, build.node.as_deref(), &BTreeMap::new()).map_err(unreachable)?;
        // From here on there may be something, whatever becomes of the status.
        self.context.note_without_body(self.uid(), false);
        self.record.operation = None;
        self.record.staging_ip = None;
        self.record.body = Some(RecordedBody {
            id: BodyId::random(),
            backend: build.backend.clone(),
            node,
            number: None,
            storage: None,
            state: None,
            fingerprint: build.fingerprint.clone(),
            built_generation: self.subject.generation,
        });
        Ok(Flow::Continue)
    }

    /// Reserves a number. It is written down before anything is made: whatever happens next, it
    /// leads back here.
    async fn reserve(&mut self, build: &Build, wanted: &Wanted) -> Result<Flow, Stop> {
        let step = Step::CreatingContainer;
        let (backend, container) = self.container(step)?;
        let taken = self.context.objects.numbers(&build.backend, &self.context.config);
        let spec = self.spec(build);
        let number = backend.reserve(&container.body, &spec, &taken).await.map_err(at(step))?;
        let number = number.ok_or_else(|| {
            let words = "this kind of backend has no templates of its own";
            Stop::Problem(step, Problem::permanent(condition::ACCEPTED, "Unsupported", words))
        })?;
        if let Some(body) = &mut self.record.body {
            body.number = Some(number);
        }
        self.say(Some(wanted), &Progress::Doing { step, message: None }).await?;
        Ok(Flow::Continue)
    }

    /// Everything but the disk's contents is set anew by each clone.
    fn spec(&self, build: &Build) -> ContainerSpec {
        let defaults = &self.context.config.defaults;
        let backend = self.context.config.backend(&build.backend);
        let cluster = backend.and_then(|backend| backend.proxmox.as_ref());
        ContainerSpec {
            incarnation: Incarnation::FIRST,
            image: format!("os:{}", build.os_template),
            user: build.user.clone(),
            hostname: self.subject.owner.name.clone(),
            cpu_millis: defaults.cpu.0,
            memory_bytes: defaults.memory.0,
            pids: defaults.pids,
            dns_servers: Vec::new(),
            infrastructure: Infrastructure {
                storage: build.storage.clone(),
                vlan: cluster.and_then(|cluster| cluster.vlan),
                dns_mode: cluster.map(|cluster| match cluster.dns.mode {
                    api::DnsMode::Host => DnsMode::Host,
                    api::DnsMode::Static => DnsMode::Static,
                    api::DnsMode::Tailscale => DnsMode::Tailscale,
                }),
                nesting: build.nesting,
                tun: build.tun,
                ..Infrastructure::default()
            },
        }
    }

    async fn create(&mut self, build: &Build) -> Result<Flow, Stop> {
        let step = Step::CreatingContainer;
        let (backend, container) = self.container(step)?;
        let spec = self.spec(build);
        let create =
            |progress| async move { backend.create(&container.body, &spec, &progress).await.map(|()| None) };
        match self.wait_for(TaskKind::Create, step, create).await {
            Err(Stop::Problem(step, problem)) => {
                if problem.reason == Reason::NumberTaken.as_str()
                    && let Some(body) = &mut self.record.body
                {
                    body.number = None;
                }
                Err(Stop::Problem(step, problem))
            }
            other => other.map(|flow| flow.unwrap_or(Flow::Continue)),
        }
    }

    async fn start_provisioning(&mut self, build: &Build, wanted: &Wanted) -> Result<Flow, Stop> {
        let step = Step::Provisioning;
        let backend = self.context.config.backend(&build.backend);
        let proxy = backend.and_then(|backend| backend.surroundings().proxy.cloned()).unwrap_or_default();
        let request = TemplateRequest {
            user: build.user.clone(),
            packages: build.packages.clone(),
            proxy: provision::Proxy { http: proxy.http, https: proxy.https, no_proxy: proxy.no_proxy },
            extra_ca: self.context.ca_bundles.get(&build.backend).cloned(),
        };
        let mut job = provision::template_job(&request);
        job.name = format!("{}-{}", job.name, hex::encode(rand::random::<[u8; 4]>()));
        // Where nobody answers yet, nothing was begun.
        let (backend, container) = self.container(step)?;
        let guest = backend.guest(&container).await.map_err(at(step))?;
        if let Some(authorities) = provision::template_authorities(&request) {
            guest.write_file(authorities).await.map_err(at(step))?;
        }
        self.begin(OPERATION_PROVISION, job_handle(&job.name, &self.boot()));
        self.say(Some(wanted), &Progress::Doing { step, message: None }).await?;
        guest.start_job(job).await.map_err(at(step))?;
        Ok(Flow::Continue)
    }

    fn begin(&mut self, kind: &str, handle: String) {
        let started_at = Time(Timestamp::now());
        self.record.operation = Some(Operation { kind: kind.to_owned(), handle, started_at });
    }

    async fn watch_provisioning(&mut self) -> Result<Flow, Stop> {
        let step = Step::Provisioning;
        let boot = self.boot();
        let handle = self.record.handle(OPERATION_PROVISION);
        let Some(name) = handle.and_then(|handle| job_on(handle, &boot)).map(str::to_owned) else {
            return Ok(Flow::Continue);
        };
        let (backend, container) = self.container(step)?;
        let watch = |progress: tokio::sync::watch::Sender<String>| async move {
            let guest = backend.guest(&container).await?;
            loop {
                match guest.look_at_job(&name, JOB_PATIENCE).await? {
                    JobState::Running { output } => {
                        progress.send_replace(last_line(&output).unwrap_or_default().to_owned());
                    }
                    ended => return Ok(Some(ended)),
                }
            }
        };
        let tasks = &self.context.tasks;
        let state = tasks.run(self.uid(), TaskKind::WatchProvisioning, &self.subject.key, PATIENCE, watch);
        match state.await {
            TaskState::Running(message) => Ok(under_way(step, message)),
            TaskState::Done(Err(error)) => Err(at(step)(error)),
            TaskState::Done(Ok(Some(JobState::Exited { code, output }))) => {
                self.record.operation = None;
                provision::template_outcome(code, &output).map_err(|error| {
                    Stop::Problem(step, Problem::provision(condition::ENVIRONMENT_READY, error))
                })?;
                self.go_back_to(Some(State::Provisioned));
                Ok(Flow::Continue)
            }
            // Nothing of the job is left: it never began, or died with its container.
            TaskState::Done(Ok(_)) => {
                self.record.operation = None;
                let words = "setting up packages and user was interrupted before it ended";
                let problem =
                    Problem::transient(condition::ENVIRONMENT_READY, "ProvisioningInterrupted", words);
                Err(Stop::Problem(step, problem))
            }
        }
    }

    /// Takes out what must not be shared. Where that was cut off there may be no SSH host key left
    /// to be let in with; the next boot makes new ones.
    async fn clean(&mut self, build: &Build, wanted: &Wanted) -> Result<Flow, Stop> {
        let step = Step::Cleaning;
        let boot = self.boot();
        let begun = self.record.handle(OPERATION_CLEAN) == Some(boot.as_str());
        self.go_back_to_provisioned();
        if !begun {
            self.begin(OPERATION_CLEAN, boot.clone());
            self.say(Some(wanted), &Progress::Doing { step, message: None }).await?;
        }
        let (backend, container) = self.container(step)?;
        let request = provision::clean_command(&build.user);
        let clean = |_| async move {
            let output = backend.guest(&container).await?.run(request).await?;
            Ok(Some(JobState::Exited { code: output.exit_code, output: output.last_line().to_owned() }))
        };
        let tasks = &self.context.tasks;
        match tasks.run(self.uid(), TaskKind::Clean, &self.subject.key, PATIENCE, clean).await {
            TaskState::Running(message) => Ok(under_way(step, message)),
            TaskState::Done(Ok(Some(JobState::Exited { code: 0, .. }))) => {
                if let Some(body) = &mut self.record.body {
                    body.state = Some(State::Cleaned);
                }
                self.say(Some(wanted), &Progress::Doing { step, message: None }).await?;
                Ok(Flow::Continue)
            }
            TaskState::Done(Ok(Some(JobState::Exited { code, output }))) => {
                let failed = provision::template_outcome(code, &output).err();
                let failed = failed.map(|error| Problem::provision(condition::ENVIRONMENT_READY, error));
                Err(Stop::Problem(step, failed.unwrap_or_else(interrupted)))
            }
            TaskState::Done(Ok(_)) => Err(Stop::Problem(step, interrupted())),
            TaskState::Done(Err(error))
                if begun && matches!(error.reason, Reason::SshUnreachable | Reason::SshAuthFailed) =>
            {
                tracing::info!(%error, "nobody is let in after a cleaning that was cut off: starting it again");
                self.record.operation = None;
                self.stop(step).await
            }
            TaskState::Done(Err(error)) => Err(at(step)(error)),
        }
    }

    fn go_back_to_provisioned(&mut self) {
        self.record.staging_ip = None;
        if let Some(body) = &mut self.record.body {
            body.state = Some(State::Provisioned);
        }
    }

    async fn stop(&mut self, step: Step) -> Result<Flow, Stop> {
        let (backend, container) = self.container(step)?;
        let grace = self.context.config.timeouts.stop.0;
        let stop = |_| async move { backend.stop(&container, grace).await.map(|()| None) };
        Ok(self.wait_for(TaskKind::Stop, step, stop).await?.unwrap_or(Flow::Continue))
    }

    async fn convert(&mut self) -> Result<Flow, Stop> {
        let step = Step::Converting;
        let (backend, container) = self.container(step)?;
        let number = container.body.known.number.unwrap_or_default();
        let convert = |progress| async move {
            backend.make_template(&container, &progress).await?;
            backend.template(number).await.map(|_| None)
        };
        if let Some(flow) = self.wait_for(TaskKind::Convert, step, convert).await? {
            return Ok(flow);
        }
        self.go_back_to(Some(State::Converted));
        Ok(Flow::Continue)
    }

    /// Removes the container that was not finished.
    async fn discard(&mut self, wanted: &Wanted) -> Result<Flow, Stop> {
        let step = Step::CreatingContainer;
        // What failed for an earlier spec, or is to be tried again, is over.
        let this = (Some(self.subject.generation), self.subject.retry_nonce.clone());
        let stands = self.record.standing.as_ref() == Some(&this);
        let said = || match stands {
            true => Progress::Standing,
            false => Progress::Doing { step, message: Some("removing what was begun before".to_owned()) },
        };
        if !self.creation_has_ended().await {
            return Ok(Flow::Wait { progress: said(), look_again: PROGRESS_INTERVAL });
        }
        match self.remove_body().await {
            None => Ok(Flow::Wait { progress: said(), look_again: PROGRESS_INTERVAL }),
            Some(Err(error)) if error.reason != Reason::NotOwned => Err(at(step)(error)),
            Some(_) => {
                self.go_back_to(None);
                self.record.body = None;
                self.say(Some(wanted), &said()).await?;
                Ok(Flow::Continue)
            }
        }
    }

    /// Runs a task; `None` when it has ended well.
    async fn wait_for<F, Fut>(&self, kind: TaskKind, step: Step, start: F) -> Result<Option<Flow>, Stop>
    where
        F: FnOnce(tokio::sync::watch::Sender<String>) -> Fut,
        Fut: Future<Output = TaskResult> + Send + 'static,
    {
        match self.context.tasks.run(self.uid(), kind, &self.subject.key, PATIENCE, start).await {
            TaskState::Done(Ok(_)) => Ok(None),
            TaskState::Done(Err(error)) => Err(at(step)(error)),
            TaskState::Running(message) => Ok(Some(under_way(step, message))),
        }
    }
}

fn under_way(step: Step, message: String) -> Flow {
    let message = Some(message).filter(|message| !message.is_empty());
    Flow::Wait { progress: Progress::Doing { step, message }, look_again: PROGRESS_INTERVAL }
}

fn interrupted() -> Problem {
    Problem::transient(condition::ENVIRONMENT_READY, "CleaningInterrupted", "cleaning up was interrupted")
}
