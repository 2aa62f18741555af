//! Conditions under which something is changed.

use std::path::Path;

use berth_link::wire::AgentProblem;
use cap_std::fs::Metadata;

use super::{problem::with_path, read::entity_tag};

/// When a file is written or deleted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Condition {
    /// Always.
    None,
    /// Where there is nothing yet.
    Absent,
    /// Where its entity tag is this one.
    Tag(String),
}

impl From<Option<String>> for Condition {
    fn from(text: Option<String>) -> Self {
        match text {
            None => Self::None,
            Some(text) if text == "*" => Self::Absent,
            Some(text) => Self::Tag(format!("\"{}\"", text.trim_matches('"'))),
        }
    }
}

impl Condition {
    /// Whether it holds for what is there.
    pub fn check(&self, there: Option<&Metadata>, path: &Path) -> Result<(), AgentProblem> {
        let holds = match self {
            Self::None => true,
            Self::Absent => there.is_none(),
            Self::Tag(tag) => there.is_some_and(|there| entity_tag(there) == *tag),
        };
        if holds { Ok(()) } else { Err(self.failed(path)) }
    }

    /// That it does not hold.
    pub fn failed(&self, path: &Path) -> AgentProblem {
        let words = match self {
            Self::Absent => "there is something already",
            _ => "it is not what it was",
        };
        with_path("PreconditionFailed", words, path)
    }
}
