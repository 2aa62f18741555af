//! What a case is: the words of the files in `cases`. Their README says what each word means.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// One thing that is known about the API.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// The sentence.
    pub case: String,
    /// What `{ct}` is when the conversation begins.
    #[serde(default)]
    pub given: Given,
    /// Where its disk is.
    #[serde(default)]
    pub on: Place,
    /// What the cluster must have for the question to make sense.
    #[serde(default)]
    pub needs: Vec<Need>,
    /// The conversation.
    pub steps: Vec<Step>,
}

/// What a container is when a conversation begins.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Given {
    /// There is none.
    #[default]
    Nothing,
    /// It is stopped.
    Stopped,
    /// It runs.
    Running,
    /// It is a template.
    Template,
}

/// Where a container's disk is.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// On the storage that the tests are given.
    #[default]
    Storage,
    /// On a directory, if the node has one for containers.
    Directory,
}

/// What a case asks of the cluster.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Need {
    /// A storage with snapshots and linked clones.
    Snapshots,
    /// A second node.
    SecondNode,
    /// The simulator: a real cluster would be changed for good, or can not be brought there.
    Simulator,
}

/// A question and its answer.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Method and path below `/api2/json`.
    pub call: String,
    /// Who asks; the token unless it is said.
    #[serde(default, rename = "as")]
    pub caller: Option<String>,
    /// Further headers of the request.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Its parameters as a form.
    #[serde(default)]
    pub form: BTreeMap<String, Value>,
    /// Its parameters as JSON.
    #[serde(default)]
    pub json: Option<Value>,
    /// Its body as it is written here.
    #[serde(default)]
    pub text: Option<String>,
    /// A body of so many bytes.
    #[serde(default)]
    pub bytes: Option<usize>,
    /// Whether the body comes in chunks.
    #[serde(default)]
    pub chunked: bool,
    /// Status and reason phrase of the answer.
    #[serde(default = "ok")]
    pub answer: String,
    /// The body of an answer that is no JSON.
    #[serde(default)]
    pub body: Option<String>,
    /// What stands in headers of the answer; all values of a header, joined.
    #[serde(default)]
    pub carries: BTreeMap<String, String>,
    /// What is wrong with which parameter: all of them.
    #[serde(default)]
    pub errors: Option<BTreeMap<String, String>>,
    /// What is in `data`.
    #[serde(default, deserialize_with = "even_null")]
    pub data: Option<Value>,
    /// What is among the items of `data`.
    #[serde(default)]
    pub includes: Vec<Value>,
    /// What is not among the items of `data`.
    #[serde(default)]
    pub excludes: Vec<Value>,
    /// Values of the answer, by JSON pointer, that later steps use.
    #[serde(default)]
    pub keep: BTreeMap<String, String>,
    /// The task that `data` names.
    #[serde(default)]
    pub task: Option<Task>,
    /// Whether the question is repeated until the answer is right.
    #[serde(default)]
    pub until: bool,
}

/// A task that an answer names.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Task {
    /// Its type in the UPID.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it is about in the UPID; `{ct}` unless it is said.
    #[serde(default = "container")]
    pub id: String,
    /// How it ends, if it is waited for.
    #[serde(default)]
    pub ends: Option<String>,
    /// A line of its log.
    #[serde(default)]
    pub log: Option<String>,
}

fn ok() -> String {
    "200 OK".to_owned()
}

fn container() -> String {
    "{ct}".to_owned()
}

/// `data: null` is an answer too.
fn even_null<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}
