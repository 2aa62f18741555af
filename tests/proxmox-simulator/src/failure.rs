//! How a call fails: the status, the words and the parameters that are wrong.

use std::collections::BTreeMap;

/// What stands in the body of an answer that is a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// What the API says of a failure.
    Json,
    /// The words alone: the proxy itself does not understand the request.
    Text,
    /// Nothing: the caller is not known, or another daemon did not answer.
    Empty,
}

/// A refused or failed call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The HTTP status.
    pub status: u16,
    /// The message, without the newline that ends it. Its first line is the reason phrase.
    pub message: String,
    /// What is wrong with which parameter.
    pub errors: BTreeMap<String, String>,
    /// How the answer says it.
    pub body: Body,
}

impl Failure {
    /// Everything that is not about permissions or parameters: 500.
    pub fn other(message: impl Into<String>) -> Self {
        Self { status: 500, message: message.into(), errors: BTreeMap::new(), body: Body::Json }
    }

    /// Parameters that are wrong: 400.
    pub fn parameters(errors: BTreeMap<String, String>) -> Self {
        Self { status: 400, message: "Parameter verification failed.".into(), errors, body: Body::Json }
    }

    /// One parameter that is wrong: 400.
    pub fn parameter(name: &str, words: impl Into<String>) -> Self {
        Self::parameters(BTreeMap::from([(name.to_owned(), words.into())]))
    }

    /// A missing privilege or a rule only root passes: 403.
    pub fn denied(detail: &str) -> Self {
        let message = match detail {
            "" => "Permission check failed".to_owned(),
            detail => format!("Permission check failed ({detail})"),
        };
        Self { status: 403, message, errors: BTreeMap::new(), body: Body::Json }
    }

    /// An answer of the proxy itself, with an empty body.
    pub fn proxy(status: u16, reason: impl Into<String>) -> Self {
        Self { status, message: reason.into(), errors: BTreeMap::new(), body: Body::Empty }
    }

    /// A request that the proxy itself does not understand: the body is the words.
    pub fn request(status: u16, reason: impl Into<String>) -> Self {
        Self { body: Body::Text, ..Self::proxy(status, reason) }
    }

    /// The container has no configuration file on the node.
    pub fn missing(node: &str, vmid: u32) -> Self {
        Self::other(format!("Configuration file 'nodes/{node}/lxc/{vmid}.conf' does not exist"))
    }
}
