//! Asking the leader for what only the controllers can do, which hold the backends and write the
//! status.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use axum::body::Body;
use berth_link::wire::exec::{ExecRequest, ExecResult};
use http::{Request, Response, StatusCode, header};
use serde::Serialize;
use tokio::{sync::watch, time::timeout};

use super::{
    certificates::CONTROLLER,
    commands, log,
    peers::{self, ClientTls},
    root::{self, collect},
};
use crate::{
    backend::LogRequest,
    controller::{
        commands::{Answer, Command, Recorded},
        workspace::power::Refusal,
    },
    gateway::api::{
        Controller,
        identity::Identity,
        objects::WorkspaceView,
        problem::{Problem, Reason},
    },
};

/// Time to connect to the leader.
const CONNECTING: Duration = Duration::from_secs(5);
/// Time for the leader to answer a command, beyond what it takes itself.
const ANSWERING: Duration = Duration::from_secs(5);
/// Time for the leader to open a log.
const OPENING: Duration = Duration::from_secs(20);
/// After so long it is worth asking again for what nobody could answer.
const AGAIN: Duration = Duration::from_secs(2);

/// Where the leader is: another replica's address, or this one.
pub type LeaderAddress = watch::Receiver<Option<String>>;

/// Asks the leader.
pub struct ThroughLeader {
    /// Its address.
    pub leader: LeaderAddress,
    /// How this replica shows itself.
    pub tls: ClientTls,
}

#[async_trait]
impl Controller for ThroughLeader {
    async fn exec_root(
        &self,
        workspace: &WorkspaceView,
        by: &Identity,
        request: ExecRequest,
    ) -> Result<ExecResult, Problem> {
        let id = workspace
            .id
            .ok_or_else(|| Problem::new(Reason::NotReady, "the workspace has no container yet".to_owned()))?;
        let order = root::Order { id, by: by.user.clone(), request };
        let asking = async {
            let answer = self.ask(root::PATH, &order).await?;
            whole(answer, root::ANSWER_BYTES).await
        };
        asking.await.map_err(|error: anyhow::Error| {
            Problem::new(Reason::AgentUnavailable, format!("the controller could not run it: {error:#}"))
        })
    }

    async fn command(
        &self,
        workspace: &WorkspaceView,
        by: &Identity,
        command: Command,
    ) -> Result<Answer, Problem> {
        let order = commands::Order {
            namespace: workspace.namespace.clone(),
            name: workspace.name.clone(),
            uid: workspace.uid.clone(),
            command,
            by: by.user.clone(),
        };
        let asking = async {
            let answer = self.ask(commands::PATH, &order).await?;
            whole::<Recorded>(answer, commands::ANSWER_BYTES).await
        };
        let answer = timeout(commands::PATIENCE + ANSWERING, asking)
            .await
            .unwrap_or_else(|_| Err(anyhow::anyhow!("it does not answer")));
        match answer {
            Ok(Ok(written)) => Ok(written),
            Ok(Err(refusal)) => Err(refused(refusal)),
            Err(error) => Err(unavailable(&format!("{error:#}"))),
        }
    }

    async fn log(&self, workspace: &WorkspaceView, request: LogRequest) -> Result<Body, Problem> {
        let called = format!("workspace {}/{}", workspace.namespace, workspace.name);
        let without = || {
            Problem::new(Reason::Conflict, format!("{called} has no container at the moment"))
                .code("NoContainer")
        };
        let order = log::Order { id: workspace.id.ok_or_else(without)?, request };
        let answer = timeout(OPENING, self.ask(log::PATH, &order))
            .await
            .unwrap_or_else(|_| Err(anyhow::anyhow!("it does not answer")))
            .map_err(|error| unavailable(&format!("{error:#}")))?;
        let (status, body) = (answer.status(), answer.into_body());
        if status == StatusCode::OK {
            return Ok(body);
        }
        let words = collect(body, WORDS).await.unwrap_or_default();
        let words = String::from_utf8_lossy(&words);
        Err(match status {
            StatusCode::NOT_FOUND => without(),
            StatusCode::NOT_IMPLEMENTED => Problem::new(Reason::Conflict, words).code("LogUnavailable"),
            StatusCode::SERVICE_UNAVAILABLE => unavailable(&words),
            _ => Problem::new(Reason::AgentUnavailable, words).code("BackendUnavailable"),
        })
    }
}

/// Most bytes of the leader's words about what it can not do.
const WORDS: usize = 64 << 10;

impl ThroughLeader {
    /// Asks something; whatever the leader says is the answer.
    async fn ask(&self, path: &str, question: &impl Serialize) -> anyhow::Result<Response<Body>> {
        let address = self.leader.borrow().clone();
        let address = address.ok_or_else(|| anyhow::anyhow!("no controller leads at the moment"))?;
        let tls = Arc::clone(&self.tls.borrow());
        let mut leader = timeout(CONNECTING, peers::connect(&address, tls, CONTROLLER)).await??;
        let request = Request::post(format!("https://{CONTROLLER}{path}"))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(serde_json::to_vec(question)?))?;
        leader.ready().await?;
        Ok(leader.send_request(request).await?.map(Body::new))
    }
}

/// A document of at most so many bytes; the leader's words where it is none.
async fn whole<T: serde::de::DeserializeOwned>(answer: Response<Body>, limit: usize) -> anyhow::Result<T> {
    let status = answer.status();
    let body = collect(answer.into_body(), limit).await?;
    anyhow::ensure!(status == StatusCode::OK, "{}", String::from_utf8_lossy(&body));
    Ok(serde_json::from_slice(&body)?)
}

fn unavailable(words: &str) -> Problem {
    let words = format!("the controller can not be asked: {words}");
    Problem::new(Reason::NotReady, words).code("ControllerUnavailable").retry_after(AGAIN)
}

fn refused(refusal: Refusal) -> Problem {
    let words = refusal.to_string();
    match refusal {
        Refusal::OperatingModeSuspended => Problem::new(Reason::Suspended, words),
        Refusal::Deleted => Problem::new(Reason::Gone, words),
        Refusal::Unknown => Problem::not_found(words),
        Refusal::TooMany => Problem::new(Reason::TooManyRequests, words).retry_after(AGAIN),
        Refusal::NotRecorded => Problem::new(Reason::Timeout, words).code("NotRecorded").retry_after(AGAIN),
    }
}
