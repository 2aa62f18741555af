//! What requests ask for, and what that needs.

use axum::http::Method;
use berth_link::wire::process::ProcessId;
use rstest::rstest;

use super::{
    operation::{GitChange, Operation, Resource},
    problem::Reason,
};
use crate::controller::{commands::Command, workspace::power};

const W: Resource = Resource::Workspaces;
const D: Resource = Resource::DevServers;

fn id(name: &str) -> ProcessId {
    name.parse().unwrap()
}

#[rstest]
#[case(W, "exec", "POST", false, Operation::Exec)]
#[case(W, "exec", "GET", true, Operation::ExecStream)]
#[case(W, "exec-root", "POST", false, Operation::ExecRoot)]
#[case(W, "files/list", "GET", false, Operation::ListFiles)]
#[case(W, "git", "GET", false, Operation::GitStatus)]
#[case(W, "git/commit", "POST", false, Operation::GitChange(GitChange::Commit))]
#[case(W, "processes/w%65b/restart", "POST", false, Operation::RestartProcess(id("web")))]
#[case(W, "proxy/3000", "GET", false, Operation::Proxy { port: Some(3000), path: "/".to_owned() })]
#[case(W, "proxy/3000/a%2Fb/", "PUT", true, Operation::Proxy { port: Some(3000), path: "/a%2Fb/".to_owned() })]
#[case(D, "proxy", "GET", false, Operation::Proxy { port: None, path: "/".to_owned() })]
#[case(D, "proxy/x", "GET", false, Operation::Proxy { port: None, path: "/x".to_owned() })]
#[case(D, "log", "GET", false, Operation::Log)]
#[case(W, "log", "GET", false, Operation::ContainerLog)]
#[case(W, "reset-host-key", "POST", false, Operation::Command(Command::ResetHostKey))]
#[case(W, "stop", "POST", false, Operation::Command(Command::Power(power::Command::Stop)))]
fn requests_ask_for(
    #[case] resource: Resource,
    #[case] path: &str,
    #[case] method: Method,
    #[case] upgrade: bool,
    #[case] expected: Operation,
) {
    assert_eq!(Operation::parse(resource, path, &method, upgrade).unwrap(), expected);
}

#[rstest]
#[case(W, "shell", "GET", Reason::NotFound)]
#[case(W, "log", "POST", Reason::MethodNotAllowed)]
#[case(D, "exec", "POST", Reason::NotFound)]
#[case(W, "exec", "GET", Reason::BadRequest)]
#[case(W, "exec", "DELETE", Reason::MethodNotAllowed)]
#[case(W, "stop", "GET", Reason::MethodNotAllowed)]
#[case(W, "restart/now", "POST", Reason::NotFound)]
#[case(W, "git/push", "POST", Reason::NotFound)]
#[case(W, "git/diff", "POST", Reason::MethodNotAllowed)]
#[case(W, "proxy/0/x", "GET", Reason::BadRequest)]
#[case(W, "proxy/https:3000", "GET", Reason::BadRequest)]
#[case(W, "processes/..%2f/restart", "POST", Reason::BadRequest)]
#[case(W, "", "GET", Reason::NotFound)]
fn other_requests_are_refused(
    #[case] resource: Resource,
    #[case] path: &str,
    #[case] method: Method,
    #[case] expected: Reason,
) {
    assert_eq!(Operation::parse(resource, path, &method, false).unwrap_err().reason, expected);
}

#[test]
fn an_unknown_subresource_names_the_known_ones() {
    let problem = Operation::parse(W, "shell", &Method::GET, false).unwrap_err();
    assert!(problem.message.contains("exec-root, files, git"), "{problem}");
}

#[rstest]
#[case("exec", "GET", true)]
#[case("attach", "GET", true)]
#[case("portforward", "GET", true)]
#[case("proxy/80/", "GET", false)]
#[case("proxy/80/", "HEAD", false)]
#[case("files", "PUT", false)]
fn a_reader_can_not(#[case] path: &str, #[case] method: Method, #[case] upgrade: bool) {
    assert_eq!(Operation::parse(W, path, &method, upgrade).unwrap().verb(), "create");
}

#[rstest]
#[case(W, "files")]
#[case(W, "git/diff")]
#[case(W, "stats")]
#[case(W, "log")]
#[case(D, "log")]
#[case(D, "errors")]
fn a_reader_can(#[case] resource: Resource, #[case] path: &str) {
    assert_eq!(Operation::parse(resource, path, &Method::GET, false).unwrap().verb(), "get");
}

#[test]
fn what_an_operation_needs_can_be_given() {
    let all = [
        (W, "exec", Method::POST, false),
        (W, "attach", Method::GET, true),
        (W, "terminals/a", Method::DELETE, false),
        (W, "files", Method::PUT, false),
        (W, "git/stage", Method::POST, false),
        (D, "proxy", Method::GET, false),
        (D, "restart", Method::POST, false),
        (W, "start", Method::POST, false),
        (W, "stop", Method::POST, false),
        (W, "restart", Method::POST, false),
    ];
    for (resource, path, method, upgrade) in all {
        let operation = Operation::parse(resource, path, &method, upgrade).unwrap();
        let listed = resource.subresources().iter().find(|one| one.name == operation.subresource());
        assert!(listed.unwrap().verbs.contains(&operation.verb()), "{operation:?}");
    }
}
