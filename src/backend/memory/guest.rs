//! The inside of a container that does not exist: commands succeed, jobs take a while.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

use crate::backend::{
    BackendError, ContainerRef, ExecOutput, ExecRequest, Guest, InstanceId, JobRequest, JobState,
    guest::FileRequest,
};

use super::{faults::Faults, world::MemoryWorld};

/// The inside of one container.
pub(super) struct MemoryGuest {
    world: Arc<MemoryWorld>,
    instance: InstanceId,
    container: ContainerRef,
    faults: Faults,
}

impl MemoryGuest {
    pub(super) fn new(
        world: Arc<MemoryWorld>,
        instance: InstanceId,
        container: ContainerRef,
        faults: Faults,
    ) -> Self {
        Self { world, instance, container, faults }
    }

    async fn pass(&self) -> Result<(), BackendError> {
        self.faults.pass_time().await;
        self.world.check_host(&self.container.body.host)?;
        self.world.check_running(&self.instance, &self.container)?;
        self.faults.strikes().map_or(Ok(()), Err)
    }
}

#[async_trait]
impl Guest for MemoryGuest {
    async fn run(&self, _request: ExecRequest) -> Result<ExecOutput, BackendError> {
        self.pass().await?;
        Ok(ExecOutput::default())
    }

    async fn write_file(&self, _file: FileRequest) -> Result<(), BackendError> {
        self.pass().await
    }

    async fn start_job(&self, job: JobRequest) -> Result<(), BackendError> {
        let struck = self.pass().await;
        if struck.is_ok() || self.faults.takes_effect() {
            self.world.start_job(&self.container, &job);
        }
        struck
    }

    async fn look_at_job(&self, name: &str, _patience: Duration) -> Result<JobState, BackendError> {
        self.pass().await?;
        let Some((started, refused)) = self.world.job_started(&self.container, name) else {
            return Ok(JobState::Missing);
        };
        if started.elapsed() < self.faults.delay() {
            return Ok(JobState::Running { output: "Receiving objects:  50% (1/2)".to_owned() });
        }
        if refused {
            return Ok(JobState::Exited {
                code: 3,
                output: "E: Unable to locate package missing".to_owned(),
            });
        }
        let id = self.container.body.id;
        let head = format!("{id}{id}{id}");
        let output = format!("berth:branch=main\nberth:head={}\n", &head[..40]);
        Ok(JobState::Exited { code: 0, output })
    }
}
