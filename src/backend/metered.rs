//! A backend that counts and times the calls of another.

use std::{collections::BTreeSet, future::Future, sync::Arc, time::Duration, time::Instant};

use async_trait::async_trait;
use tokio::sync::{broadcast, watch};

use super::{
    AgentProgram, Backend, BackendError, Body, BodyId, BodyRef, Change, ContainerRef, ContainerSpec, Found,
    Guest, HostState, ImageRequest, LogRequest, LogStream, OwnedItem, Owner, Report, SharedBackend,
    TemplatePlace,
};

/// Told of every call: its name, `Ok` or the reason of its failure, and how long it took.
pub type Observer = Arc<dyn Fn(&'static str, &'static str, Duration) + Send + Sync>;

/// Counts and times the calls of the backend within.
pub struct Metered {
    inner: SharedBackend,
    observer: Observer,
}

impl Metered {
    /// Wraps a backend.
    pub fn new(inner: SharedBackend, observer: Observer) -> Self {
        Self { inner, observer }
    }

    async fn time<T>(
        &self,
        call: &'static str,
        work: impl Future<Output = Result<T, BackendError>>,
    ) -> Result<T, BackendError> {
        let started = Instant::now();
        let result = work.await;
        let word = result.as_ref().map_or_else(|error| error.reason.as_str(), |_| "Ok");
        (self.observer)(call, word, started.elapsed());
        result
    }
}

#[async_trait]
impl Backend for Metered {
    fn hosts(&self) -> Vec<HostState> {
        self.inner.hosts()
    }

    async fn inspect(&self, body: &BodyRef) -> Result<Body, BackendError> {
        self.time("inspect", self.inner.inspect(body)).await
    }

    async fn find(&self, owner: &Owner) -> Result<Vec<Found>, BackendError> {
        self.time("find", self.inner.find(owner)).await
    }

    async fn list(&self, host: &str) -> Result<Vec<OwnedItem>, BackendError> {
        self.time("list", self.inner.list(host)).await
    }

    async fn prepare_image(
        &self,
        host: &str,
        image: &ImageRequest,
        progress: &watch::Sender<Report>,
    ) -> Result<(), BackendError> {
        self.time("prepare_image", self.inner.prepare_image(host, image, progress)).await
    }

    async fn hosts_of_image(&self, image: &str) -> Result<Option<Vec<String>>, BackendError> {
        self.time("hosts_of_image", self.inner.hosts_of_image(image)).await
    }

    async fn reserve(
        &self,
        body: &BodyRef,
        spec: &ContainerSpec,
        taken: &BTreeSet<u32>,
    ) -> Result<Option<u32>, BackendError> {
        self.time("reserve", self.inner.reserve(body, spec, taken)).await
    }

    async fn create(
        &self,
        body: &BodyRef,
        spec: &ContainerSpec,
        progress: &watch::Sender<Report>,
    ) -> Result<(), BackendError> {
        self.time("create", self.inner.create(body, spec, progress)).await
    }

    fn give_up_creation(&self, id: BodyId) {
        self.inner.give_up_creation(id);
    }

    async fn start(&self, container: &ContainerRef) -> Result<(), BackendError> {
        self.time("start", self.inner.start(container)).await
    }

    async fn stop(&self, container: &ContainerRef, grace: Duration) -> Result<(), BackendError> {
        self.time("stop", self.inner.stop(container, grace)).await
    }

    async fn remove_container(&self, container: &ContainerRef) -> Result<(), BackendError> {
        self.time("remove_container", self.inner.remove_container(container)).await
    }

    async fn remove(&self, body: &BodyRef, retain_volumes: bool) -> Result<(), BackendError> {
        self.time("remove", self.inner.remove(body, retain_volumes)).await
    }

    async fn guest(&self, container: &ContainerRef) -> Result<Box<dyn Guest>, BackendError> {
        self.time("guest", self.inner.guest(container)).await
    }

    async fn logs(&self, container: &ContainerRef, request: &LogRequest) -> Result<LogStream, BackendError> {
        self.time("logs", self.inner.logs(container, request)).await
    }

    fn brings_agents(&self) -> bool {
        self.inner.brings_agents()
    }

    async fn deliver_agent(&self, container: &ContainerRef) -> Result<AgentProgram, BackendError> {
        self.time("deliver_agent", self.inner.deliver_agent(container)).await
    }

    async fn make_template(
        &self,
        container: &ContainerRef,
        progress: &watch::Sender<Report>,
    ) -> Result<(), BackendError> {
        self.time("make_template", self.inner.make_template(container, progress)).await
    }

    async fn template(&self, number: u32) -> Result<TemplatePlace, BackendError> {
        self.time("template", self.inner.template(number)).await
    }

    fn changes(&self) -> broadcast::Receiver<Change> {
        self.inner.changes()
    }
}
