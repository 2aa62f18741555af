//! What the operator wrote down about a Template earlier: the status, parsed.
//!
//! A status that can not be parsed counts as lost, and is rebuilt from the mark on the backend.

use crate::{
    api::{Operation, ProxmoxTemplateStatus, TemplatePhase, TemplateStatus},
    backend::BodyId,
};

use super::phase::{State, Step};

/// The parsed status.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    /// The container that the Template is built in, or the template that it became.
    pub body: Option<RecordedBody>,
    /// The work inside the container that was begun.
    pub operation: Option<Operation>,
    /// The address of the container, for whoever changes it by hand.
    pub staging_ip: Option<String>,
    /// The step that was last written.
    pub step: Option<Step>,
    /// Whether it was Ready.
    pub was_ready: bool,
    /// The permanent failure that stands, by the generation and the retry annotation that failed.
    pub standing: Option<(Option<i64>, Option<String>)>,
}

/// A container's id and place, and what it is built from.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordedBody {
    /// Its id.
    pub id: BodyId,
    /// The backend's name.
    pub backend: String,
    /// The node's name.
    pub node: String,
    /// Its VMID, once one is reserved.
    pub number: Option<u32>,
    /// The storage of its disk, once that was seen.
    pub storage: Option<String>,
    /// How far it has come.
    pub state: Option<State>,
    /// Stands for the spec that it is built from.
    pub fingerprint: String,
    /// The last generation with that spec.
    pub built_generation: i64,
}

impl Record {
    /// Reads a status.
    pub fn parse(status: Option<&TemplateStatus>) -> Self {
        let Some(status) = status else { return Self::default() };
        let phase = status.phase.as_deref();
        let step = status.step.as_deref().and_then(Step::parse);
        // What was wrong with spec or configuration is found out anew on every pass, at no cost.
        let stands = phase == Some(TemplatePhase::Failed.as_str())
            && step.is_some_and(|step| step != Step::Initializing);
        let body = status.proxmox.as_ref().and_then(parse_body);
        Self {
            operation: status.operation.clone().filter(|_| body.is_some()),
            staging_ip: status.staging_ip.clone(),
            step,
            was_ready: phase == Some(TemplatePhase::Ready.as_str()),
            standing: stands.then(|| (status.observed_generation, status.observed_retry_nonce.clone())),
            body,
        }
    }

    /// The handle of work of this kind that was begun.
    pub fn handle(&self, kind: &str) -> Option<&str> {
        let operation = self.operation.as_ref().filter(|operation| operation.kind == kind)?;
        Some(&operation.handle)
    }
}

fn parse_body(status: &ProxmoxTemplateStatus) -> Option<RecordedBody> {
    Some(RecordedBody {
        id: status.id.as_ref()?.parse().ok()?,
        backend: status.backend.clone()?,
        node: status.node.clone()?,
        number: status.vmid,
        storage: status.storage.clone(),
        state: status.state.as_deref().and_then(State::parse),
        fingerprint: status.fingerprint.clone().unwrap_or_default(),
        built_generation: status.built_generation.unwrap_or_default(),
    })
}

impl RecordedBody {
    /// As it stands in the status.
    pub fn written(&self) -> ProxmoxTemplateStatus {
        ProxmoxTemplateStatus {
            id: Some(self.id.to_string()),
            backend: Some(self.backend.clone()),
            vmid: self.number,
            node: Some(self.node.clone()),
            storage: self.storage.clone(),
            state: self.state.map(|state| state.as_str().to_owned()),
            built_generation: Some(self.built_generation),
            fingerprint: Some(self.fingerprint.clone()),
        }
    }
}
