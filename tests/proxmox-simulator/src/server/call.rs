//! A call whose caller is known, and its answer.

use std::sync::Arc;

use serde_json::{Value, json};

use super::params::Params;
use crate::{access::Identity, cluster::Cluster, failure::Failure};

/// A call after all checks that the description of the API makes.
#[derive(Clone)]
pub struct Call {
    /// The cluster.
    pub cluster: Arc<Cluster>,
    /// Who calls.
    pub identity: Identity,
    /// The node in the path; the one that answers without.
    pub node: String,
    /// All parameters, those of the path too.
    pub params: Params,
}

impl Call {
    /// The container in the path.
    pub fn vmid(&self) -> u32 {
        self.params.number("vmid").unwrap_or_default()
    }

    /// A parameter's text, or nothing.
    pub fn text(&self, name: &str) -> String {
        self.params.get(name).unwrap_or_default().to_owned()
    }

    /// Refuses unless one of these privileges is there.
    ///
    /// # Errors
    ///
    /// 403 with the path and the privileges.
    pub fn require(&self, path: &str, any_of: &[&str]) -> Result<(), Failure> {
        self.cluster.state().require(&self.identity, path, any_of)
    }
}

/// What a call returns.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The data.
    pub data: Value,
    /// How many there are when only some are returned.
    pub total: Option<usize>,
}

impl From<Value> for Answer {
    fn from(data: Value) -> Self {
        Self { data, total: None }
    }
}

impl From<String> for Answer {
    fn from(text: String) -> Self {
        json!(text).into()
    }
}
