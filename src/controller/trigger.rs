//! Asking for an object's next pass from anywhere in the operator.

use kube::runtime::reflector::ObjectRef;
use tokio::sync::mpsc;

use crate::api::Workspace;

/// Names one Workspace for the queue.
pub type WorkspaceKey = ObjectRef<Workspace>;

/// The sending end of the queue. Cheap to clone; what is sent after the controller has ended is
/// dropped.
#[derive(Clone)]
pub struct Triggers(mpsc::UnboundedSender<WorkspaceKey>);

impl Triggers {
    /// A queue. Its length is bounded by the scheduler behind it, which keeps one entry an object.
    pub fn channel() -> (Self, mpsc::UnboundedReceiver<WorkspaceKey>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(sender), receiver)
    }

    /// Asks for a pass over one Workspace.
    pub fn workspace(&self, key: WorkspaceKey) {
        let _ = self.0.send(key);
    }
}
