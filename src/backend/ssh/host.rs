//! A host itself, for what its own interface can not do: commands as root.

use std::path::Path;

use async_trait::async_trait;

use super::{Pool, SshGuest, Target};
use crate::backend::{BackendError, ExecOutput, ExecRequest, Guest};

/// A place where commands run as root of a host.
#[async_trait]
pub trait HostShell: Send + Sync {
    /// Runs a command and waits for it, as [`Guest::run`] does.
    async fn run(&self, request: ExecRequest) -> Result<ExecOutput, BackendError>;
}

/// A host that is reached by SSH, and known by a key that an administrator listed.
pub struct SshHost(SshGuest);

impl SshHost {
    /// Opens a host, over the connection that the pool has to it. `known_hosts` is a file of
    /// OpenSSH's format, read anew for each connection.
    pub async fn open(pool: &Pool, target: &Target, known_hosts: &Path) -> Result<Self, BackendError> {
        pool.listed(target, known_hosts).await.map(Self)
    }
}

#[async_trait]
impl HostShell for SshHost {
    async fn run(&self, request: ExecRequest) -> Result<ExecOutput, BackendError> {
        self.0.run(request).await
    }
}
