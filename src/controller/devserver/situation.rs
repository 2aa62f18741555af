//! Everything that is known of a DevServer in one pass. Plan and status are made of this alone.

use std::collections::BTreeMap;

use berth_link::wire::process::ProcessState;
use jiff::Timestamp;

use crate::{
    api::{Workspace, condition},
    config::PreviewConfig,
    controller::workspace::{Phase as WorkspacePhase, problem::Problem},
};

use super::{
    siblings::Place,
    validate::{Desired, Subject},
};

/// Everything that is known of a DevServer.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    /// Who it is.
    pub subject: &'a Subject,
    /// What is wanted, or why the spec can not be used.
    pub desired: &'a Result<Desired, Problem>,
    /// Its place among the DevServers of its Workspace.
    pub place: &'a Place,
    /// Its Workspace.
    pub home: &'a Home,
    /// The variables of its process with their values, or why they can not be had.
    pub environment: &'a Result<BTreeMap<String, String>, Problem>,
    /// The hash of its preview's password, or why it can not be had; nothing where none is wanted.
    pub password: &'a Result<Option<String>, Problem>,
    /// Whether requests for its preview get to the gateway, as far as the operator is to see to it.
    pub route: &'a Result<(), Problem>,
    /// What is written down of its preview.
    pub published: Option<&'a Published>,
    /// What its agent told.
    pub agent: &'a AgentWord,
    /// Where previews are published.
    pub config: &'a PreviewConfig,
    /// The time.
    pub now: Timestamp,
}

/// A preview's host name, as it was written down when it was made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Published {
    /// The first part of the host name.
    pub host: String,
    /// When it was made.
    pub since: Timestamp,
}

/// How the Workspace of a DevServer is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Home {
    /// There is none of that name.
    Missing,
    /// It is being deleted.
    Terminating,
    /// It can not be used now; its phase.
    NotReady(String),
    /// It is suspended, or about to be.
    Suspended,
    /// It can be used.
    Usable,
}

impl Home {
    /// Reads a Workspace.
    pub fn of(workspace: Option<&Workspace>) -> Self {
        let Some(workspace) = workspace else { return Self::Missing };
        if workspace.metadata.deletion_timestamp.is_some() {
            return Self::Terminating;
        }
        let status = workspace.status.as_ref();
        let word = status.and_then(|status| status.phase.as_deref());
        let asleep = matches!(
            word.and_then(WorkspacePhase::parse),
            Some(WorkspacePhase::Suspended | WorkspacePhase::Suspending)
        );
        if asleep || workspace.is_to_be_suspended() {
            return Self::Suspended;
        }
        let available = status
            .into_iter()
            .flat_map(|status| &status.conditions)
            .any(|one| one.type_ == condition::AVAILABLE && one.status == "True");
        if available { Self::Usable } else { Self::NotReady(word.unwrap_or("Pending").to_owned()) }
    }
}

/// What the agent of the workspace told of the process.
#[derive(Clone, Debug, PartialEq)]
pub enum AgentWord {
    /// Nothing yet, but it may be linked all the same: this leader has only just begun, or the
    /// link has only just broken.
    Unheard,
    /// It is not linked.
    Disconnected,
    /// It is linked, and this is how the process is, once it knows of it.
    Told(Option<Box<ProcessState>>),
}
