//! Condition types, and the one way a condition list is put together.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// Whether the object is as wanted; its reason and message are the answer to "why not".
pub const READY: &str = "Ready";
/// Whether the workspace can be used now.
pub const AVAILABLE: &str = "Available";
/// Whether the spec can be acted on at all.
pub const ACCEPTED: &str = "Accepted";
/// Whether the backend answers.
pub const BACKEND_READY: &str = "BackendReady";
/// Whether the Template was found and fits.
pub const TEMPLATE_RESOLVED: &str = "TemplateResolved";
/// Whether every Secret and ConfigMap that is named exists.
pub const SECRETS_READY: &str = "SecretsReady";
/// Whether the container exists and is in the wanted state.
pub const CONTAINER_READY: &str = "ContainerReady";
/// Whether the container has the device `/dev/net/tun`, where it is to have it.
pub const TUN_CONFIGURED: &str = "TunConfigured";
/// Whether the container has its address.
pub const NETWORK_READY: &str = "NetworkReady";
/// Whether the host is kept from changing the container's name resolution, where it would.
pub const DNS_PROTECTED: &str = "DNSProtected";
/// Whether user and environment are set up.
pub const ENVIRONMENT_READY: &str = "EnvironmentReady";
/// Whether the repository is checked out.
pub const REPOSITORY_READY: &str = "RepositoryReady";
/// The agent in the container has a link to a gateway.
pub const AGENT_CONNECTED: &str = "AgentConnected";
/// Whether the container's disk is as large as it is to be, where it has one of its own. One that is
/// not is no obstacle.
pub const DISK_READY: &str = "DiskReady";
/// Whether the DevServer's Workspace is there and can be used.
pub const WORKSPACE_READY: &str = "WorkspaceReady";
/// Whether the DevServer's process is as wanted.
pub const PROCESS_RUNNING: &str = "ProcessRunning";
/// Whether the DevServer's process has opened its port.
pub const PORT_OPEN: &str = "PortOpen";
/// Whether the DevServer's preview can be opened in a browser.
pub const PREVIEW_READY: &str = "PreviewReady";
/// Whether a Template that was built is built from its present spec.
pub const UP_TO_DATE: &str = "UpToDate";
/// Present while the operator works towards the spec (kstatus).
pub const RECONCILING: &str = "Reconciling";
/// Present while only a change by somebody else can help (kstatus).
pub const STALLED: &str = "Stalled";

/// Greatest length of a condition's message that Berth writes, in bytes.
pub const MESSAGE_LIMIT: usize = 1024;

/// The order in which conditions are listed: the first False one is the present obstacle.
pub const ORDER: &[&str] = &[
    READY,
    AVAILABLE,
    ACCEPTED,
    BACKEND_READY,
    TEMPLATE_RESOLVED,
    SECRETS_READY,
    CONTAINER_READY,
    TUN_CONFIGURED,
    NETWORK_READY,
    DNS_PROTECTED,
    ENVIRONMENT_READY,
    REPOSITORY_READY,
    AGENT_CONNECTED,
    DISK_READY,
    WORKSPACE_READY,
    PROCESS_RUNNING,
    PORT_OPEN,
    PREVIEW_READY,
    UP_TO_DATE,
    RECONCILING,
    STALLED,
];

/// Builds a condition list on top of the one before, so that a condition whose status did not
/// change keeps its transition time.
pub struct ConditionList<'a> {
    before: &'a [Condition],
    generation: Option<i64>,
    now: jiff::Timestamp,
    list: Vec<Condition>,
}

impl<'a> ConditionList<'a> {
    /// Starts an empty list.
    pub fn new(before: &'a [Condition], generation: Option<i64>, now: jiff::Timestamp) -> Self {
        Self { before, generation, now, list: Vec::new() }
    }

    /// Adds a condition, or replaces the one of the same type.
    pub fn set(&mut self, type_: &str, status: bool, reason: &str, message: &str) {
        self.put(type_, if status { "True" } else { "False" }, reason, message);
    }

    /// Adds a condition of which nobody can say now whether it holds, or replaces the one of the
    /// same type.
    pub fn set_unknown(&mut self, type_: &str, reason: &str, message: &str) {
        self.put(type_, "Unknown", reason, message);
    }

    fn put(&mut self, type_: &str, word: &str, reason: &str, message: &str) {
        let since = self
            .before
            .iter()
            .find(|condition| condition.type_ == type_ && condition.status == word)
            .map_or(Time(self.now), |condition| condition.last_transition_time.clone());
        self.list.retain(|condition| condition.type_ != type_);
        self.list.push(Condition {
            type_: type_.to_owned(),
            status: word.to_owned(),
            reason: reason.to_owned(),
            message: truncate(message, MESSAGE_LIMIT),
            last_transition_time: since,
            observed_generation: self.generation,
        });
    }

    /// Keeps the condition of this type as it was, when there was one.
    pub fn keep(&mut self, type_: &str) {
        if let Some(condition) = self.before.iter().find(|condition| condition.type_ == type_) {
            self.list.retain(|other| other.type_ != type_);
            self.list.push(condition.clone());
        }
    }

    /// The list, in [`ORDER`].
    pub fn finish(mut self) -> Vec<Condition> {
        self.list.sort_by_key(|condition| {
            ORDER.iter().position(|type_| *type_ == condition.type_).unwrap_or(ORDER.len())
        });
        self.list
    }
}

/// Cuts text to at most `limit` bytes, at a character boundary, and says so with an ellipsis.
pub fn truncate(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    let room = limit.saturating_sub('…'.len_utf8());
    let end = (0..=room).rev().find(|&index| text.is_char_boundary(index)).unwrap_or(0);
    format!("{}…", &text[..end])
}

/// Schema of a condition list: a map keyed by type, as the API conventions ask.
pub fn conditions_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "array",
        "maxItems": 32,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "required": ["type", "status", "reason", "message", "lastTransitionTime"],
            "properties": {
                "type": {"type": "string", "maxLength": 316, "description": "What the condition is about."},
                "status": {"type": "string", "enum": ["True", "False", "Unknown"], "description": "Whether it holds."},
                "reason": {"type": "string", "maxLength": 1024, "description": "A stable word for programs."},
                "message": {"type": "string", "maxLength": 32768, "description": "An explanation for people."},
                "lastTransitionTime": {"type": "string", "format": "date-time", "description": "When the status last changed."},
                "observedGeneration": {"type": "integer", "format": "int64", "description": "The generation of the spec that the condition is about."}
            }
        }
    })
}
