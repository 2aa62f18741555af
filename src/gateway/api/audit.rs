//! The audit log: who did what to which workspace, and how it went.
//!
//! One line, of the tracing target `audit`, for each request that runs or changes something, the
//! refused ones too. Commands, their input and what goes over connections are left out, since they
//! may hold secrets.

use axum::{body::Body, response::Response};
use http::{Method, Request};

use super::{
    gate::Admission, identity::Identity, operation::Operation, problem::Problem, query::Query, review::Access,
};

/// A line to be written once it is known how it went.
pub struct Entry {
    identity: Identity,
    access: Access,
    method: Method,
    path: String,
    file: Option<String>,
    wanted: bool,
}

impl Entry {
    /// What is known before.
    pub fn of(admission: &Admission, operation: &Operation, request: &Request<Body>) -> Self {
        Self {
            identity: admission.identity.clone(),
            access: admission.access.clone(),
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
            file: file(operation, request.uri().query()),
            wanted: operation.changes() && !only_looks(operation, request.method()),
        }
    }

    /// Writes it.
    pub fn write(self, result: &Result<Response, Problem>) {
        if !self.wanted {
            return;
        }
        let (code, outcome) = match result {
            Ok(response) => (response.status().as_u16(), "Done"),
            Err(problem) => (problem.reason.status().as_u16(), problem.word()),
        };
        tracing::info!(
            target: "audit",
            user = self.identity.user,
            uid = self.identity.uid,
            namespace = self.access.namespace,
            resource = self.access.resource.word(),
            name = self.access.name,
            subresource = self.access.subresource,
            method = %self.method,
            path = self.path,
            file = self.file,
            code,
            outcome,
            "asked of a workspace"
        );
    }
}

/// Looking at an application changes nothing as far as anybody can tell from here.
fn only_looks(operation: &Operation, method: &Method) -> bool {
    matches!(operation, Operation::Proxy { .. }) && matches!(*method, Method::GET | Method::HEAD)
}

/// The file that is written or deleted.
fn file(operation: &Operation, query: Option<&str>) -> Option<String> {
    let about_a_file =
        matches!(operation, Operation::WriteFile | Operation::DeleteFile | Operation::WriteArchive);
    let known = ["path", "mode", "ifMatch", "recursive"];
    let query = about_a_file.then(|| Query::parse(query, &known).ok())??;
    query.text("path").map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(Operation::WriteFile, Some("path=a%2Fb&mode=600"), Some("a/b"))]
    #[case(Operation::DeleteFile, Some("path=a"), Some("a"))]
    #[case(Operation::DeleteFile, None, None)]
    #[case(Operation::ExecStream, Some("command=secret"), None)]
    fn files_are_named(
        #[case] operation: Operation,
        #[case] query: Option<&str>,
        #[case] expected: Option<&str>,
    ) {
        assert_eq!(file(&operation, query).as_deref(), expected);
    }
}
