//! The API of workspaces' insides: subresources of Workspaces and DevServers.
//!
//! One set of handlers with two faces: [`Api::router`] stands behind kube-apiserver as
//! `subresources.berth.dev` ([`serve`] is its server), [`Api::public_router`] on the public
//! address under `/api/v1`. A request goes one way: who asks ([`identity`]), what is asked
//! ([`operation`]), how often ([`rates`]), whether that is allowed ([`review`]), of which
//! workspace ([`objects`]), and then to its handler, which asks the agent ([`agent`]). `gate`
//! is that way; nothing reaches an agent but through it.
//!
//! | Request below `namespaces/{namespace}/` | What | Right |
//! |---|---|---|
//! | `POST workspaces/{name}/exec` | `ExecBody` to [`ExecResult`] | `create` `workspaces/exec` |
//! | `GET workspaces/{name}/exec` | WebSocket, `channels`; query `command` (again for each argument) or `shell`, `stdin`, `stdout`, `stderr`, `tty`, `cols`, `rows`, `cwd`, `env` (`NAME=VALUE`), `timeoutMs` | `create` `workspaces/exec` |
//! | `POST workspaces/{name}/exec-root` | the same as `POST exec`, as root | `create` `workspaces/exec-root` |
//! | `GET workspaces/{name}/attach` | WebSocket, `channels`, with the position on channel 5; query `terminal`, `since`, `id`, `cols`, `rows`, `existing` | `create` `workspaces/attach` |
//! | `GET workspaces/{name}/terminals`, `DELETE .../terminals/{terminal}` | list and end named terminals | `get`, `create` `workspaces/terminals` |
//! | `GET workspaces/{name}/portforward` | WebSocket, see `portforward`; query `ports` | `create` `workspaces/portforward` |
//! | any `workspaces/{name}/proxy/{port}/{path}` | HTTP to a port | `create` `workspaces/proxy` |
//! | `GET PUT DELETE workspaces/{name}/files`, `GET .../files/list`, `GET PUT .../files/archive` | query `path`, `offset`, `limit`, `mode`, `ifMatch`, `recursive` | `get` or `create` `workspaces/files` |
//! | `GET workspaces/{name}/git`, `GET .../git/diff`, `POST .../git/{stage,unstage,discard,commit}` | [`berth_link::wire::git`] | `get` or `create` `workspaces/git` |
//! | `GET workspaces/{name}/processes`, `GET .../processes/system`, `POST .../processes/{id}/restart` | supervised processes, and all of them | `get` or `create` `workspaces/processes` |
//! | `POST workspaces/{name}/{start,stop,restart}` | has the command written into `status.power`, and answers with that | `create` `workspaces/...` |
//! | `POST workspaces/{name}/reset-host-key` | has the SSH host key of the container forgotten, and answers with it | `create` `workspaces/reset-host-key` |
//! | `GET workspaces/{name}/log` | text: what the container's processes printed; query `tailLines`, `sinceSeconds`, `follow`, `timestamps` | `get` `workspaces/log` |
//! | `GET workspaces/{name}/{activity,stats,events}` | [`berth_link::wire::system`], [`berth_link::wire::Event`] a line | `get` `workspaces/...` |
//! | `GET devservers/{name}/log` | text; query `tailLines`, `sinceOffset`, `follow`, `timestamps` | `get` `devservers/log` |
//! | `GET devservers/{name}/errors` | [`berth_link::wire::process::DetectedErrors`] | `get` `devservers/errors` |
//! | `POST devservers/{name}/restart` | starts its process again | `create` `devservers/restart` |
//! | any `devservers/{name}/proxy/{path}` | HTTP to its port | `create` `devservers/proxy` |
//!
//! kube-apiserver asks for a right of its own before it passes a request on, by the HTTP method:
//! `get`, `create`, `update`, `patch` or `delete`. So a role for a shell gives `create` and `get`.
//! It cuts off requests after 60 s but for `attach`, `exec`, `log`, `portforward` and `proxy`. Every
//! other one may last too where it is asked below `watch/namespaces/`: kube-apiserver then asks for
//! the right to `watch`, whatever the method, and the rights of the table hold as ever.
//!
//! Links of agents, previews, certificates and commands to the controller live elsewhere.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use axum::{Router, body::Body};
use berth_link::wire::exec::{ExecRequest, ExecResult};
use tokio_util::sync::CancellationToken;

use crate::{
    backend::LogRequest,
    config::{GatewayLimits, RatesConfig},
    controller::commands::{Answer, Command},
    gateway::access::Agents,
};

pub mod agent;
mod attach;
mod audit;
mod body;
pub mod browser;
mod channels;
pub mod discovery;
mod documents;
mod exec;
mod files;
mod frames;
pub mod front_proxy;
mod gate;
pub mod identity;
mod log;
pub mod objects;
pub mod operation;
#[cfg(test)]
mod operation_tests;
mod portforward;
pub mod problem;
mod proxy;
mod query;
pub mod rates;
pub mod review;
pub mod serve;
mod session;
#[cfg(test)]
mod tests;

use browser::Browsers;
use identity::Identity;
use objects::{Objects, WorkspaceView};
use problem::Problem;
use rates::{RateLimits, Rates};
use review::Reviewer;

/// API group of the subresources.
pub const GROUP: &str = "subresources.berth.dev";
/// Version of the API group.
pub const VERSION: &str = "v1alpha1";

/// What an administrator sets.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Longest time that a command that is waited for may take.
    pub longest_exec: Duration,
    /// Most bytes of a file or an archive, read or written.
    pub largest_transfer: u64,
    /// A right may be taken away during a long session: so often it is looked at again.
    pub review_every: Duration,
    /// How often things may be done.
    pub rates: Rates,
}

impl Settings {
    /// As the configuration has it.
    pub fn new(limits: &GatewayLimits, rates: &RatesConfig) -> Self {
        Self {
            longest_exec: limits.exec_timeout.0,
            largest_transfer: limits.transfer.0,
            review_every: limits.review_interval.0,
            rates: Rates::from(rates),
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self::new(&GatewayLimits::default(), &RatesConfig::default())
    }
}

/// What only the controllers can do, which hold the backends and write the status.
#[async_trait]
pub trait Controller: Send + Sync {
    /// Runs a command as root and waits for it. The agent runs as the workspace's user.
    async fn exec_root(
        &self,
        workspace: &WorkspaceView,
        by: &Identity,
        request: ExecRequest,
    ) -> Result<ExecResult, Problem>;

    /// Has a command to the workspace written down. Whatever it takes is done after that.
    async fn command(
        &self,
        workspace: &WorkspaceView,
        by: &Identity,
        command: Command,
    ) -> Result<Answer, Problem>;

    /// Opens the log of the workspace's container, whether its agent is there or not.
    async fn log(&self, workspace: &WorkspaceView, request: LogRequest) -> Result<Body, Problem>;
}

/// What the handlers stand on.
pub struct Api {
    agents: Arc<dyn Agents>,
    objects: Arc<dyn Objects>,
    reviewer: Reviewer,
    controller: Arc<dyn Controller>,
    limits: RateLimits,
    settings: Settings,
    stop: CancellationToken,
    browsers: Option<Browsers>,
}

impl Api {
    /// The handlers over these.
    pub fn new(
        agents: Arc<dyn Agents>,
        objects: Arc<dyn Objects>,
        reviewer: Reviewer,
        controller: Arc<dyn Controller>,
        settings: Settings,
    ) -> Self {
        let limits = RateLimits::new(settings.rates);
        Self {
            agents,
            objects,
            reviewer,
            controller,
            limits,
            settings,
            stop: CancellationToken::new(),
            browsers: None,
        }
    }

    /// The same, whose long sessions end with a word to the client when `stop` is cancelled.
    pub fn until(self, stop: CancellationToken) -> Self {
        Self { stop, ..self }
    }

    /// The same, which makes tickets for browsers and knows their sessions.
    pub fn for_browsers(self, browsers: Browsers) -> Self {
        Self { browsers: Some(browsers), ..self }
    }

    /// The face behind kube-apiserver, with discovery. Who asks comes with each request as an
    /// extension, [`Identity`]: [`serve::serve_aggregated`] puts it there.
    pub fn router(self: Arc<Self>) -> Router {
        gate::aggregated(self).merge(discovery::router())
    }

    /// The face of the public address: `/api/v1/namespaces/...`. Who asks shows a bearer token,
    /// made for the audience [`review::AUDIENCE`].
    pub fn public_router(self: Arc<Self>) -> Router {
        gate::public(self)
    }
}
