//! Asking for an object's next pass from anywhere in the operator.

use kube::runtime::reflector::ObjectRef;
use tokio::sync::mpsc;

use crate::{
    api::{Template, Workspace},
    backend::BodyId,
};

/// Names one Workspace for the queue.
pub type WorkspaceKey = ObjectRef<Workspace>;
/// Names one Template for the queue.
pub type TemplateKey = ObjectRef<Template>;

/// What a pass is asked for.
#[derive(Clone, Debug, PartialEq)]
pub enum Trigger {
    /// One Workspace.
    Workspace(WorkspaceKey),
    /// One Template.
    Template(TemplateKey),
    /// The DevServers of one Workspace, whether that exists or not.
    DevServers(WorkspaceKey),
    /// The Workspace of an agent, and its DevServers.
    Agent(BodyId),
    /// The DevServers of an agent's Workspace.
    Processes(BodyId),
    /// The Workspace of an agent.
    Work(BodyId),
}

impl From<&WorkspaceKey> for Trigger {
    fn from(key: &WorkspaceKey) -> Self {
        Self::Workspace(key.clone())
    }
}

impl From<&TemplateKey> for Trigger {
    fn from(key: &TemplateKey) -> Self {
        Self::Template(key.clone())
    }
}

/// The sending end of the queue. Cheap to clone; what is sent after the controller has ended is
/// dropped.
#[derive(Clone)]
pub struct Triggers(mpsc::UnboundedSender<Trigger>);

impl Triggers {
    /// A queue. Its length is bounded by the schedulers behind it, which keep one entry an object.
    pub fn channel() -> (Self, mpsc::UnboundedReceiver<Trigger>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(sender), receiver)
    }

    /// Asks for what a trigger says.
    pub fn send(&self, trigger: Trigger) {
        let _ = self.0.send(trigger);
    }

    /// Asks for a pass over one Workspace.
    pub fn workspace(&self, key: WorkspaceKey) {
        let _ = self.0.send(Trigger::Workspace(key));
    }

    /// Asks for a pass over one Template.
    pub fn template(&self, key: TemplateKey) {
        let _ = self.0.send(Trigger::Template(key));
    }

    /// Asks for a pass over each DevServer of a Workspace: the Workspace changed.
    pub fn devservers(&self, key: WorkspaceKey) {
        let _ = self.0.send(Trigger::DevServers(key));
    }

    /// Asks for a pass over a Workspace and over its DevServers: its agent came or went.
    pub fn agent(&self, id: BodyId) {
        let _ = self.0.send(Trigger::Agent(id));
    }

    /// Asks for a pass over a Workspace: somebody works in it.
    pub fn work(&self, id: BodyId) {
        let _ = self.0.send(Trigger::Work(id));
    }

    /// Asks for a pass over the DevServers of a Workspace: its agent told of its processes.
    pub fn processes(&self, id: BodyId) {
        let _ = self.0.send(Trigger::Processes(id));
    }
}
