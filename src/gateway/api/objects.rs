//! What is known of Workspaces and DevServers, and whether one can be asked something now.

use std::time::Duration;

use berth_link::wire::process::ProcessId;

use super::problem::{Problem, Reason};
use crate::{backend::BodyId, controller::workspace::phase::Phase};

/// After so long it is worth asking again for a workspace that is on its way.
const ON_ITS_WAY: Duration = Duration::from_secs(3);

/// The objects, as watches know them.
pub trait Objects: Send + Sync {
    /// A Workspace.
    fn workspace(&self, namespace: &str, name: &str) -> Option<WorkspaceView>;

    /// A DevServer.
    fn devserver(&self, namespace: &str, name: &str) -> Option<DevServerView>;
}

/// What handlers need to know of a Workspace.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct WorkspaceView {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Its body, once it has one.
    pub id: Option<BodyId>,
    /// The phase in its status.
    pub phase: Option<String>,
    /// The user that everything runs as.
    pub user: Option<String>,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Whether its status says that its agent is connected.
    pub connected: bool,
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
    /// Whether it is being deleted.
    pub deleting: bool,
}

impl WorkspaceView {
    /// The body whose agent can be asked; otherwise why none can. Whether the agent is really
    /// connected shows when it is asked.
    pub fn reachable(&self) -> Result<BodyId, Problem> {
        let called = format!("workspace {}/{}", self.namespace, self.name);
        if self.deleting {
            return Err(Problem::new(Reason::Gone, format!("{called} is being deleted")));
        }
        match self.phase.as_deref().and_then(Phase::parse) {
            Some(Phase::Terminating) => Err(Problem::new(Reason::Gone, format!("{called} is being deleted"))),
            Some(Phase::Suspended | Phase::Suspending) => {
                Err(Problem::new(Reason::Suspended, format!("{called} is suspended")))
            }
            Some(Phase::Failed) if !self.connected => {
                Err(Problem::new(Reason::NotRunning, format!("{called} has failed and does not run")))
            }
            Some(Phase::Running | Phase::Degraded | Phase::Failed) => {
                self.id.ok_or_else(|| on_its_way(&called, "has no container yet"))
            }
            Some(Phase::Pending | Phase::Provisioning | Phase::Resuming) | None => match self.id {
                Some(id) if self.connected => Ok(id),
                _ => Err(on_its_way(&called, "is not ready yet")),
            },
        }
    }
}

fn on_its_way(called: &str, state: &str) -> Problem {
    Problem::new(Reason::NotReady, format!("{called} {state}")).retry_after(ON_ITS_WAY)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("Running", false, None)]
    #[case("Degraded", false, None)]
    #[case("Provisioning", true, None)]
    #[case("Provisioning", false, Some(Reason::NotReady))]
    #[case("Resuming", false, Some(Reason::NotReady))]
    #[case("Suspending", true, Some(Reason::Suspended))]
    #[case("Suspended", false, Some(Reason::Suspended))]
    #[case("Failed", true, None)]
    #[case("Failed", false, Some(Reason::NotRunning))]
    #[case("Terminating", true, Some(Reason::Gone))]
    #[case("SomethingNew", true, None)]
    #[case("SomethingNew", false, Some(Reason::NotReady))]
    fn a_workspace_can_be_asked(
        #[case] phase: &str,
        #[case] connected: bool,
        #[case] expected: Option<Reason>,
    ) {
        let view = WorkspaceView {
            id: Some(BodyId::from_bytes([7; 8])),
            phase: Some(phase.to_owned()),
            connected,
            ..WorkspaceView::default()
        };
        assert_eq!(view.reachable().err().map(|problem| problem.reason), expected);
    }

    #[test]
    fn one_without_a_container_is_waited_for() {
        let view = WorkspaceView { phase: Some("Running".to_owned()), ..WorkspaceView::default() };
        let problem = view.reachable().unwrap_err();
        assert_eq!(problem.reason, Reason::NotReady);
        assert_eq!(problem.retry_after, Some(ON_ITS_WAY));
    }

    #[test]
    fn one_that_is_being_deleted_is_gone() {
        let view = WorkspaceView {
            id: Some(BodyId::from_bytes([7; 8])),
            phase: Some("Running".to_owned()),
            deleting: true,
            connected: true,
            ..WorkspaceView::default()
        };
        assert_eq!(view.reachable().unwrap_err().reason, Reason::Gone);
    }
}
