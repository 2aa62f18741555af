//! Taking what passes are asked for to the queues of the controllers.

use kube::runtime::reflector::{ObjectRef, Store};
use tokio::sync::mpsc;

use crate::api::{DevServer, Template, Workspace};

use super::{
    context::{Context, devservers_of},
    devserver,
    trigger::{TemplateKey, Trigger, WorkspaceKey},
};

/// The queues of the controllers, each with the cache of its watch.
#[derive(Default)]
pub struct Dispatch {
    /// For Workspaces.
    pub workspaces: Vec<Queue<Workspace>>,
    /// For Templates.
    pub templates: Vec<Queue<Template>>,
    /// For DevServers.
    pub devservers: Vec<Queue<DevServer>>,
}

/// A queue, and the cache of its watch.
pub type Queue<K> = (Store<K>, mpsc::UnboundedSender<ObjectRef<K>>);

impl Dispatch {
    /// Puts what was asked for into the queue of the watch that knows the object; one that has not
    /// been seen yet is on its way.
    pub fn pass_on(&self, trigger: Trigger, context: &Context) {
        match trigger {
            Trigger::Workspace(key) => self.workspace(key),
            Trigger::Template(key) => self.template(key),
            Trigger::DevServers(key) => self.devservers(&key, context),
            Trigger::Agent(id) => {
                if let Some(key) = context.workspace_of(id) {
                    self.devservers(&key, context);
                    self.workspace(key);
                }
            }
            Trigger::Work(id) => {
                if let Some(key) = context.workspace_of(id) {
                    self.workspace(key);
                }
            }
            Trigger::Processes(id) => {
                if let Some(key) = context.workspace_of(id) {
                    self.devservers(&key, context);
                }
            }
        }
    }

    fn workspace(&self, key: WorkspaceKey) {
        if let Some((_, queue)) = self.workspaces.iter().find(|(reader, _)| reader.get(&key).is_some()) {
            let _ = queue.send(key);
        }
    }

    fn template(&self, key: TemplateKey) {
        if let Some((_, queue)) = self.templates.iter().find(|(reader, _)| reader.get(&key).is_some()) {
            let _ = queue.send(key);
        }
    }

    fn devservers(&self, key: &WorkspaceKey, context: &Context) {
        let mut none = true;
        for (reader, queue) in &self.devservers {
            for devserver in devservers_of(reader, key) {
                none = false;
                let _ = queue.send(ObjectRef::from_obj(devserver.as_ref()));
            }
        }
        // No pass would say that nothing is to run there.
        if none {
            devserver::tell_agent(context, key);
        }
    }
}
