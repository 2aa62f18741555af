//! From a place on a backend to a container: which host, which number, and what it is made of.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    api::condition,
    backend::{
        BodyId, BodyRef, ContainerSpec, HostState, ImageRequest, Incarnation, Pull, Reason, SharedBackend,
    },
    controller::tasks::TaskKind,
};

use super::{
    execute::{Flow, Stop, at},
    pass::Pass,
    phase::Step,
    placement,
    problem::Problem,
    record::RecordedBody,
    references::References,
    status::Progress,
    validate::Desired,
};

impl Pass<'_> {
    /// Chooses id and host, once everything that the spec refers to is there.
    pub(super) async fn assign(&mut self, desired: &Desired) -> Result<Flow, Stop> {
        self.check_quota().map_err(at(Step::Initializing))?;
        let mut references = References::new(self.context.client.clone());
        references.check(desired).await.map_err(at(Step::Initializing))?;
        let host = self.choose_host(desired).await.map_err(at(Step::Initializing))?;
        // From here on there may be something, whatever becomes of the status.
        self.context.note_without_body(self.uid(), false);
        self.record.body = Some(RecordedBody {
            id: BodyId::random(),
            incarnation: Incarnation::FIRST,
            backend: desired.backend.clone(),
            host,
            number: None,
            resolved: desired.resolved.clone(),
            template: desired.template.as_ref().map(|template| template.snapshot.clone()),
        });
        self.record.restart_nonce.clone_from(&desired.restart_nonce);
        Ok(Flow::Continue)
    }

    fn check_quota(&self) -> Result<(), Problem> {
        let limit = self.context.config.limits.workspaces_per_namespace;
        let namespace = &self.subject.owner.namespace;
        if limit == 0 {
            return Ok(());
        }
        let used = self
            .context
            .objects
            .workspaces()
            .iter()
            .filter(|other| other.metadata.namespace.as_ref() == Some(namespace))
            .filter(|other| other.status.as_ref().is_some_and(|status| status.id.is_some()))
            .count();
        if used < limit as usize {
            return Ok(());
        }
        let message = format!("namespace {namespace:?} has {used} workspaces, and {limit} are allowed");
        Err(Problem::transient(condition::ACCEPTED, "QuotaExceeded", message)
            .hint("delete one that is no longer needed"))
    }

    async fn choose_host(&self, desired: &Desired) -> Result<String, Problem> {
        let backend = self
            .context
            .backends
            .get(&desired.backend)
            .ok_or_else(|| unreachable(format!("backend {:?} is not there", desired.backend)))?;
        let mut hosts = backend.hosts();
        if let Some(pinned) = &desired.pinned_host
            && !hosts.is_empty()
        {
            is_usable(pinned, &hosts, &desired.backend)?;
        }
        if let Some(possible) = backend.hosts_of_image(&desired.resolved.image).await? {
            let pinned = desired.pinned_host.as_ref().filter(|pinned| !possible.contains(pinned));
            if let Some(pinned) = pinned {
                let message =
                    format!("{pinned:?} does not have the template's storage; {} do", possible.join(", "));
                return Err(Problem::permanent(condition::BACKEND_READY, "NodeUnsuitable", message));
            }
            hosts.retain(|host| possible.contains(&host.name));
        }
        let mut committed: BTreeMap<&str, u64> = BTreeMap::new();
        let others = self.context.objects.workspaces();
        for resolved in others.iter().filter_map(|other| other.status.as_ref()?.resolved.as_ref()) {
            if resolved.backend == desired.backend
                && let (Some(host), Ok(memory)) =
                    (&resolved.host, resolved.memory.parse::<crate::config::Bytes>())
            {
                *committed.entry(host).or_default() += memory.0;
            }
        }
        placement::place(&hosts, desired.pinned_host.as_deref(), &committed).map_err(unreachable)
    }

    pub(super) async fn create(&mut self, desired: &Desired) -> Result<Flow, Stop> {
        let step = Step::CreatingContainer;
        let (backend, container) = self.container(self.present(), step)?;
        let Some(resolved) = self.record.body.as_ref().map(|body| body.resolved.clone()) else {
            return Ok(Flow::Continue);
        };
        let is_creating = self.context.tasks.is_running(self.uid(), TaskKind::Create);
        if !is_creating && let Some(flow) = self.prepare(desired, &backend, &resolved.image).await? {
            return Ok(flow);
        }
        let spec = ContainerSpec {
            incarnation: container.incarnation,
            image: resolved.image,
            user: resolved.user,
            hostname: self.subject.owner.name.clone(),
            cpu_millis: resolved.cpu.0,
            memory_bytes: resolved.memory.0,
            pids: resolved.pids,
            dns_servers: desired.dns_servers.clone(),
            infrastructure: desired.infrastructure.clone(),
        };
        if !is_creating {
            self.reserve(desired, &backend, &container.body, &spec).await?;
        }
        let (backend, container) = self.container(self.present(), step)?;
        let create =
            |progress| async move { backend.create(&container.body, &spec, &progress).await.map(|()| None) };
        match self.wait_for(TaskKind::Create, step, create).await {
            Err(Stop::Problem(_, problem)) if problem.reason == Reason::NumberTaken.as_str() => {
                if let Some(body) = &mut self.record.body {
                    body.number = None;
                }
                Err(Stop::Problem(step, problem))
            }
            Err(stop) => Err(stop),
            Ok(Some(flow)) => Ok(flow),
            Ok(None) => Ok(Flow::Continue),
        }
    }

    /// Makes the image available; `None` when it is.
    async fn prepare(
        &self,
        desired: &Desired,
        backend: &SharedBackend,
        image: &str,
    ) -> Result<Option<Flow>, Stop> {
        let step = Step::CreatingContainer;
        if self.context.tasks.is_running(self.uid(), TaskKind::PrepareImage) {
            return self.wait_for(TaskKind::PrepareImage, step, |_| async { Ok(None) }).await;
        }
        let Some(host) = self.record.body.as_ref().map(|body| body.host.clone()) else { return Ok(None) };
        let image = self.image_request(desired, image).await.map_err(at(step))?;
        let backend = Arc::clone(backend);
        let prepare =
            |progress| async move { backend.prepare_image(&host, &image, &progress).await.map(|()| None) };
        self.wait_for(TaskKind::PrepareImage, step, prepare).await
    }

    /// Writes down the number that the container will have, before anything is made: whatever
    /// happens next, the number leads back here.
    async fn reserve(
        &mut self,
        desired: &Desired,
        backend: &SharedBackend,
        body: &BodyRef,
        spec: &ContainerSpec,
    ) -> Result<(), Stop> {
        let step = Step::CreatingContainer;
        if body.known.number.is_some() {
            return Ok(());
        }
        let number = backend.reserve(body, spec, &self.numbers_taken()).await.map_err(at(step))?;
        if let (Some(number), Some(recorded)) = (number, &mut self.record.body) {
            recorded.number = Some(number);
            self.say(Some(desired), &Progress::Doing { step, message: None }).await?;
        }
        Ok(())
    }

    /// The numbers that are written down for other workspaces, and for Templates.
    fn numbers_taken(&self) -> BTreeSet<u32> {
        let Some(backend) = self.record.body.as_ref().map(|body| body.backend.as_str()) else {
            return BTreeSet::new();
        };
        self.context.objects.numbers(backend, &self.context.config)
    }

    async fn image_request(&self, desired: &Desired, image: &str) -> Result<ImageRequest, Problem> {
        let (pull, credentials) = match &desired.template {
            Some(template) => {
                let mut references = References::new(self.context.client.clone());
                let names = &template.pull_secrets;
                (template.pull, references.registry_credentials(&template.snapshot.namespace, names).await?)
            }
            None => (Pull::IfNotPresent, Vec::new()),
        };
        Ok(ImageRequest { image: image.to_owned(), pull, credentials })
    }
}

/// Whether the host that a Workspace names is there. What it has can not be told while it does not
/// answer.
fn is_usable(pinned: &str, hosts: &[HostState], backend: &str) -> Result<(), Problem> {
    let Some(host) = hosts.iter().find(|host| host.name == pinned) else {
        let known: Vec<&str> = hosts.iter().map(|host| host.name.as_str()).collect();
        let message = format!("backend {backend:?} has no host {pinned:?}, but {}", known.join(", "));
        return Err(Problem::permanent(condition::ACCEPTED, "HostNotFound", message));
    };
    match &host.unreachable {
        Some(why) => Err(unreachable(format!("{pinned} does not answer: {why}"))),
        None => Ok(()),
    }
}

fn unreachable(message: String) -> Problem {
    Problem::transient(condition::BACKEND_READY, "BackendUnreachable", message)
}
