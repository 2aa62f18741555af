//! One call of the API, before it is sent.

use http::Method;
use url::{Url, form_urlencoded};

use super::{Effect, Error, Failure, NodeName, VmId, retry::CallKind};

/// Most bytes that a node takes in one request.
const LARGEST_BODY: usize = 512 * 1024;

/// One call of the API.
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) kind: CallKind,
    segments: Vec<String>,
    parameters: Parameters,
    /// Whose few workers it keeps busy, and the container that it is about.
    pub(super) worker: Option<Worker>,
}

/// Calls that a node's `pvedaemon` answers share its three workers.
#[derive(Clone, Debug)]
pub(super) struct Worker {
    pub(super) node: NodeName,
    pub(super) container: Option<VmId>,
}

impl Call {
    pub(super) fn get(path: &[&str]) -> Self {
        Self::new(Method::GET, CallKind::Read, path)
    }

    pub(super) fn post(path: &[&str]) -> Self {
        Self::new(Method::POST, CallKind::Once, path)
    }

    pub(super) fn put(path: &[&str]) -> Self {
        Self::new(Method::PUT, CallKind::Once, path)
    }

    pub(super) fn delete(path: &[&str]) -> Self {
        Self::new(Method::DELETE, CallKind::Once, path)
    }

    fn new(method: Method, kind: CallKind, path: &[&str]) -> Self {
        let segments = path.iter().map(|&segment| segment.to_owned()).collect();
        Self { method, kind, segments, parameters: Parameters::default(), worker: None }
    }

    /// Done twice it does the same as done once.
    pub(super) fn repeatable(self) -> Self {
        Self { kind: CallKind::Repeatable, ..self }
    }

    /// A worker of the node is kept busy.
    pub(super) fn at(self, node: &NodeName, container: Option<VmId>) -> Self {
        Self { worker: Some(Worker { node: node.clone(), container }), ..self }
    }

    pub(super) fn with(self, parameters: Parameters) -> Self {
        Self { parameters, ..self }
    }

    /// Method and path, for errors. Without parameters: they may be secret.
    pub(super) fn name(&self) -> String {
        format!("{} /{}", self.method, self.segments.join("/"))
    }

    /// The error of a call that can not be made from its values.
    pub(super) fn unsendable(&self, words: String) -> Error {
        let failure = Failure::Unsendable(words);
        Error { call: self.name(), kind: self.kind, failure, effect: Effect::Nothing }
    }

    /// The address of the call. A body is refused with GET and DELETE, so their parameters are in
    /// the query.
    pub(super) fn address(&self, base: &Url) -> Result<Url, String> {
        let mut address = base.clone();
        let mut path = address.path_segments_mut().map_err(|()| "address without a path".to_owned())?;
        if let Some(segment) =
            self.segments.iter().find(|segment| matches!(segment.as_str(), "" | "." | ".."))
        {
            return Err(format!("{segment:?} can not stand in a path"));
        }
        path.extend(&self.segments);
        drop(path);
        if !self.has_body() && !self.parameters.0.is_empty() {
            address.set_query(Some(&self.parameters.encoded()));
        }
        Ok(address)
    }

    /// The body, as a form.
    pub(super) fn body(&self) -> Result<Option<String>, String> {
        if !self.has_body() {
            return Ok(None);
        }
        let body = self.parameters.encoded();
        if body.len() > LARGEST_BODY {
            return Err(format!("{} bytes of parameters: {LARGEST_BODY} at most", body.len()));
        }
        Ok(Some(body))
    }

    fn has_body(&self) -> bool {
        self.method == Method::POST || self.method == Method::PUT
    }
}

/// Parameters of a call. Not shown by `Debug`: they may be secret.
///
/// What is not set is left out. An empty text is left out as well: some calls would store it as a
/// blank, and none understands it as "unset".
#[derive(Default)]
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    pub(super) fn text(mut self, name: impl Into<String>, value: impl ToString) -> Self {
        let value = value.to_string();
        if !value.is_empty() {
            self.0.push((name.into(), value));
        }
        self
    }

    pub(super) fn optional(self, name: &str, value: Option<impl ToString>) -> Self {
        match value {
            Some(value) => self.text(name, value),
            None => self,
        }
    }

    /// A boolean: other forms than `0` and `1` are refused.
    pub(super) fn flag(self, name: &str, value: bool) -> Self {
        self.text(name, u8::from(value))
    }

    pub(super) fn all(self, pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        pairs.into_iter().fold(self, |parameters, (name, value)| parameters.text(name, value))
    }

    fn encoded(&self) -> String {
        form_urlencoded::Serializer::new(String::new()).extend_pairs(&self.0).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base() -> Url {
        "https://pve1:8006/api2/json".parse().unwrap()
    }

    #[test]
    fn what_only_looks_or_removes_has_no_body() {
        let call = Call::delete(&["nodes", "pve1", "lxc", "105"])
            .with(Parameters::default().flag("purge", true).flag("force", false));
        assert_eq!(
            call.address(&base()).unwrap().as_str(),
            "https://pve1:8006/api2/json/nodes/pve1/lxc/105?purge=1&force=0"
        );
        assert_eq!(call.body().unwrap(), None);
    }

    #[test]
    fn what_changes_something_has_a_form() {
        let parameters = Parameters::default()
            .text("net0", "name=eth0,bridge=vmbr0")
            .text("description", "a;b & c\n")
            .text("tags", "")
            .optional("hostname", None::<&str>);
        let call = Call::put(&["nodes", "pve1", "lxc", "105", "config"]).with(parameters);
        assert_eq!(
            call.address(&base()).unwrap().as_str(),
            "https://pve1:8006/api2/json/nodes/pve1/lxc/105/config"
        );
        assert_eq!(
            call.body().unwrap().unwrap(),
            "net0=name%3Deth0%2Cbridge%3Dvmbr0&description=a%3Bb+%26+c%0A"
        );
    }

    #[test]
    fn a_segment_can_not_leave_its_place() {
        let call = Call::get(&["nodes", "pve1", "tasks", "UPID:a/../b?c#d%2f:"]);
        assert_eq!(
            call.address(&base()).unwrap().path(),
            "/api2/json/nodes/pve1/tasks/UPID:a%2F..%2Fb%3Fc%23d%252f:"
        );
        assert!(Call::get(&["nodes", ".."]).address(&base()).is_err());
        assert!(Call::get(&["nodes", ""]).address(&base()).is_err());
    }

    #[test]
    fn a_body_that_no_node_takes_is_not_sent() {
        let call = Call::put(&["x"]).with(Parameters::default().text("a", "x".repeat(LARGEST_BODY)));
        assert!(call.body().is_err());
    }
}
