//! What is done inside a workspace's container: its name resolution, user, environment,
//! certificates, git identity and repository; and how a container becomes a template of such.
//!
//! One file a concern, all of them working through [`Guest`](crate::backend::Guest): nothing here
//! knows which backend the container runs on, and nothing knows of Kubernetes. What runs in the
//! container stands in `scripts/`, in POSIX shell; values reach a script as positional parameters,
//! on standard input or in a job's environment, and are never pasted into its text. Whatever comes
//! back is the tenant's: it is parsed, shortened and cleaned before anybody is shown it.

pub mod agent;
pub mod certificates;
pub mod clone;
pub mod clone_failure;
pub mod clone_outcome;
pub mod dns;
pub mod env;
pub mod error;
pub mod git_identity;
pub mod progress;
pub mod proxy;
pub mod redact;
pub mod remote_url;
pub mod setup;
pub mod template;
pub mod user;

#[cfg(test)]
mod testing;

pub use agent::{AgentSettings, AgentSetup, AgentStatus, LinkStatus, agent_status};
pub use clone::{CloneRequest, Credential, clone_job};
pub use clone_outcome::{Checkout, outcome};
pub use dns::{DnsSetup, ResolvConf};
pub use env::Environment;
pub use error::{ProvisionError, ProvisionReason};
pub use git_identity::GitIdentity;
pub use progress::progress;
pub use proxy::Proxy;
pub use remote_url::RemoteUrl;
pub use setup::{Configuration, Setup, configure};
pub use template::{TemplateRequest, clean_command, template_authorities, template_job, template_outcome};

/// The folder that a workspace's work is in: the mount point of its volume.
pub const WORKSPACE_FOLDER: &str = "/workspace";
