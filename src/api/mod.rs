//! The custom resources: types, schema rules and the names that go with them.
//!
//! The doc comments on fields are user documentation: they become `kubectl explain` and the
//! reference pages. Nothing here performs I/O or decides anything; a field is in the schema
//! only when the operator acts on it.

pub mod common;
pub mod condition;
pub mod crd;
pub mod devserver;
pub mod devserver_status;
pub mod proxmox;
pub mod reference;
pub mod template;
pub mod workspace;
pub mod workspace_status;

pub use common::*;
pub use devserver::{DevServer, DevServerSpec, HostHeader, PreviewAccess};
pub use devserver_status::{DevServerStatus, LastExit, PreviewStatus};
pub use proxmox::{DnsMode, ProxmoxSelector, ProxmoxTemplate, ProxmoxTemplateStatus, StaticAddress};
pub use template::{DockerTemplate, PullPolicy, Template, TemplatePhase, TemplateSpec, TemplateStatus};
pub use workspace::{
    BackendSelector, Deletion, DockerSelector, Git, Network, OperatingMode, Repository, TemplateRef,
    Workspace, WorkspaceSpec,
};
pub use workspace_status::*;

/// API group of every kind.
pub const GROUP: &str = "berth.dev";
/// The one served and stored version.
pub const VERSION: &str = "v1alpha1";
/// Held on a Workspace until everything it owns on its backend is gone, or is written down to be removed later.
pub const FINALIZER: &str = "berth.dev/cleanup";
/// Set to the object's uid on a Workspace that is being deleted: go at once, and leave what can
/// not be removed now to the ledger.
pub const ANNOTATION_FORCE: &str = "berth.dev/force";
/// Set to the object's uid on a Workspace that is being deleted: go at once, and leave
/// everything on the backend as it is.
pub const ANNOTATION_ORPHAN: &str = "berth.dev/orphan";
/// Change its value to try again after a permanent failure.
pub const ANNOTATION_RETRY: &str = "berth.dev/retry-nonce";
