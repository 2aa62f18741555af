//! What is known of Workspaces and DevServers, and whether an agent can be asked now.

use std::{sync::Arc, time::Duration};

use berth_link::wire::process::ProcessId;

use super::problem::{Problem, Reason};
pub use crate::gateway::objects::WorkspaceView;
use crate::{backend::BodyId, controller::workspace::phase::Phase};

/// After so long it is worth asking again for a workspace that is on its way.
const ON_ITS_WAY: Duration = Duration::from_secs(3);

/// The objects, as watches know them.
pub trait Objects: Send + Sync {
    /// A Workspace.
    fn workspace(&self, namespace: &str, name: &str) -> Option<Arc<WorkspaceView>>;

    /// A DevServer.
    fn devserver(&self, namespace: &str, name: &str) -> Option<Arc<DevServerView>>;
}

/// What handlers need to know of a DevServer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DevServerView {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// The Workspace it runs in, of the same namespace.
    pub workspace: String,
    /// Its process there.
    pub process: ProcessId,
    /// The port that it opens.
    pub port: Option<u16>,
    /// The address of its preview.
    pub preview: Option<String>,
    /// Whether it is being deleted.
    pub deleting: bool,
}

/// A workspace whose agent may be asked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reachable {
    /// Its body.
    pub id: BodyId,
    /// What it means when its agent is not connected.
    pub without_agent: Problem,
}

/// The agent that can be asked; otherwise why none can. Somebody looks into a workspace that is
/// on its way or has failed too, as long as there is an agent.
pub fn reachable(view: &WorkspaceView) -> Result<Reachable, Problem> {
    let called = format!("workspace {}/{}", view.namespace, view.name);
    let on_its_way = || not_ready(view, &called);
    let gone = || Problem::new(Reason::Gone, format!("{called} is being deleted"));
    if view.deleting {
        return Err(gone());
    }
    let without_agent = match view.phase.as_deref().and_then(Phase::parse) {
        Some(Phase::Terminating) => return Err(gone()),
        Some(Phase::Suspended | Phase::Suspending) => {
            return Err(Problem::new(Reason::Suspended, format!("{called} is suspended")));
        }
        Some(Phase::Failed) => Problem::new(Reason::NotRunning, with_cause(view, &called, "has failed")),
        Some(Phase::Running | Phase::Degraded) => {
            Problem::new(Reason::AgentUnavailable, with_cause(view, &called, "has no connected agent"))
        }
        Some(Phase::Pending | Phase::Provisioning | Phase::Resuming) | None => on_its_way(),
    };
    match view.id {
        Some(id) => Ok(Reachable { id, without_agent }),
        None if without_agent.reason == Reason::NotRunning => Err(without_agent),
        None => Err(on_its_way()),
    }
}

fn not_ready(view: &WorkspaceView, called: &str) -> Problem {
    Problem::new(Reason::NotReady, with_cause(view, called, "is not ready yet")).retry_after(ON_ITS_WAY)
}

fn with_cause(view: &WorkspaceView, called: &str, state: &str) -> String {
    match &view.not_ready {
        Some((reason, message)) => format!("{called} {state}: {reason}: {message}"),
        None => format!("{called} {state}"),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::link::token::Epoch;

    fn view(phase: &str) -> WorkspaceView {
        WorkspaceView {
            namespace: "team".to_owned(),
            name: "web".to_owned(),
            uid: "1".to_owned(),
            id: Some(BodyId::from_bytes([7; 8])),
            epoch: Epoch(1),
            phase: Some(phase.to_owned()),
            not_ready: None,
            deleting: false,
            user: "dev".to_owned(),
        }
    }

    #[rstest]
    #[case("Running", Reason::AgentUnavailable)]
    #[case("Degraded", Reason::AgentUnavailable)]
    #[case("Pending", Reason::NotReady)]
    #[case("Provisioning", Reason::NotReady)]
    #[case("Resuming", Reason::NotReady)]
    #[case("Failed", Reason::NotRunning)]
    #[case("SomethingNew", Reason::NotReady)]
    fn an_agent_is_asked_and_its_absence_means(#[case] phase: &str, #[case] expected: Reason) {
        assert_eq!(reachable(&view(phase)).unwrap().without_agent.reason, expected);
    }

    #[rstest]
    #[case("Suspending", Reason::Suspended)]
    #[case("Suspended", Reason::Suspended)]
    #[case("Terminating", Reason::Gone)]
    fn no_agent_is_asked(#[case] phase: &str, #[case] expected: Reason) {
        assert_eq!(reachable(&view(phase)).unwrap_err().reason, expected);
    }

    #[rstest]
    #[case("Running", Reason::NotReady)]
    #[case("Provisioning", Reason::NotReady)]
    #[case("Failed", Reason::NotRunning)]
    fn one_without_a_container_can_not_be_asked(#[case] phase: &str, #[case] expected: Reason) {
        let view = WorkspaceView { id: None, ..view(phase) };
        assert_eq!(reachable(&view).unwrap_err().reason, expected);
    }

    #[test]
    fn one_that_is_being_deleted_is_gone() {
        let view = WorkspaceView { deleting: true, ..view("Running") };
        assert_eq!(reachable(&view).unwrap_err().reason, Reason::Gone);
    }

    #[test]
    fn why_it_is_not_ready_is_said() {
        let cause = ("ImagePullFailed".to_owned(), "no such image".to_owned());
        let view = WorkspaceView { not_ready: Some(cause), ..view("Provisioning") };
        let problem = reachable(&view).unwrap().without_agent;
        assert_eq!(problem.message, "workspace team/web is not ready yet: ImagePullFailed: no such image");
        assert_eq!(problem.retry_after, Some(ON_ITS_WAY));
    }
}
