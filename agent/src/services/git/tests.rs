use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
};

use axum::{Router, body::Body};
use berth_link::wire::{
    AgentProblem,
    git::{Committed, GitStatus},
};
use http::{Method, Request};
use http_body_util::BodyExt;
use rstest::rstest;
use serde_json::json;
use tempfile::TempDir;
use tower::ServiceExt;

use super::*;
use crate::services::Settings;

/// A workspace with a repository that has one commit, of the file `a`.
struct Work {
    folder: TempDir,
    router: Router,
}

impl Work {
    fn empty() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let workspace = folder.path().join("workspace");
        fs::create_dir(&workspace).unwrap();
        let router = router(&Settings { workspace, ..Settings::default() });
        Self { folder, router }
    }

    fn without_commits() -> Self {
        let work = Self::empty();
        work.git(&["init", "-q", "-b", "main"]);
        work.git(&["config", "user.name", "dev"]);
        work.git(&["config", "user.email", "dev@example.com"]);
        work
    }

    fn new() -> Self {
        let work = Self::without_commits();
        work.write("a", "one\n");
        work.git(&["add", "a"]);
        work.git(&["commit", "-q", "-m", "first"]);
        work
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("workspace").join(name)
    }

    fn write(&self, name: &str, content: &str) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), content).unwrap();
    }

    fn git(&self, arguments: &[&str]) {
        let status =
            Command::new("git").args(arguments).current_dir(self.path("")).stdin(Stdio::null()).status();
        assert!(status.unwrap().success(), "{arguments:?}");
    }

    async fn ask(&self, method: Method, route: &str, body: serde_json::Value) -> (u16, String) {
        let request = Request::builder()
            .method(method)
            .uri(format!("/v1/git/{route}"))
            .header("content-type", "application/json")
            .body(Body::from(body.to_string()))
            .unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(bytes.to_vec()).unwrap())
    }

    async fn post(&self, route: &str, body: serde_json::Value) -> (u16, String) {
        self.ask(Method::POST, route, body).await
    }

    async fn paths(&self, route: &str, paths: &[&str]) -> u16 {
        self.post(route, json!({ "paths": paths })).await.0
    }

    async fn status(&self) -> GitStatus {
        serde_json::from_str(&self.ask(Method::GET, "status", json!({})).await.1).unwrap()
    }

    /// The staged, the changed and the unknown paths.
    async fn lists(&self) -> [Vec<String>; 3] {
        let status = self.status().await;
        let paths = |changes: Vec<_>| {
            changes.into_iter().map(|change: berth_link::wire::git::Change| change.path).collect()
        };
        [paths(status.staged), paths(status.unstaged), status.untracked]
    }
}

fn problem(answer: (u16, String)) -> (u16, AgentProblem) {
    (answer.0, serde_json::from_str(&answer.1).unwrap())
}

#[rstest]
#[case(Method::GET, "status")]
#[case(Method::GET, "diff")]
#[case(Method::POST, "stage")]
#[case(Method::POST, "discard")]
#[case(Method::POST, "commit")]
#[tokio::test]
async fn there_may_be_no_repository(#[case] method: Method, #[case] route: &str) {
    let (status, problem) = problem(Work::empty().ask(method, route, json!({ "message": "a" })).await);
    assert_eq!((status, problem.code.as_str()), (409, "NoRepository"));
}

#[tokio::test]
async fn changes_are_staged_and_unstaged_by_name_or_all() {
    let work = Work::new();
    work.write("a", "two\n");
    work.write("*", "");
    work.write("sub/-b", "");
    let none: [&str; 0] = [];
    assert_eq!(work.lists().await, [none.to_vec(), vec!["a"], vec!["*", "sub/-b"]]);
    assert_eq!(work.paths("stage", &["*"]).await, 204);
    assert_eq!(work.lists().await, [vec!["*"], vec!["a"], vec!["sub/-b"]]);
    assert_eq!(work.paths("stage", &[]).await, 204);
    assert_eq!(work.lists().await, [vec!["*", "a", "sub/-b"], none.to_vec(), none.to_vec()]);
    assert_eq!(work.paths("unstage", &["sub/-b"]).await, 204);
    assert_eq!(work.lists().await, [vec!["*", "a"], none.to_vec(), vec!["sub/-b"]]);
    assert_eq!(work.paths("unstage", &[]).await, 204);
    assert_eq!(work.lists().await, [none.to_vec(), vec!["a"], vec!["*", "sub/-b"]]);
    assert_eq!(work.paths("stage", &["nothing"]).await, 404);
}

#[tokio::test]
async fn what_is_not_committed_yet_can_be_unstaged_too() {
    let work = Work::without_commits();
    work.write("a", "");
    assert_eq!(work.paths("stage", &[]).await, 204);
    assert_eq!(work.paths("unstage", &[]).await, 204);
    assert_eq!(work.lists().await, [vec![], vec![], vec!["a".to_owned()]]);
}

#[tokio::test]
async fn unknown_files_are_discarded_only_when_they_are_named() {
    let work = Work::new();
    work.write("a", "two\n");
    work.write("new", "");
    work.write("other", "");
    assert_eq!(work.paths("discard", &[]).await, 204);
    assert_eq!(fs::read_to_string(work.path("a")).unwrap(), "one\n");
    assert_eq!(work.lists().await[2], ["new", "other"]);
    fs::remove_file(work.path("a")).unwrap();
    assert_eq!(work.paths("discard", &["a", "new"]).await, 204);
    assert_eq!(work.lists().await, [vec![], vec![], vec!["other".to_owned()]]);
}

#[rstest]
#[case("")]
#[case(".")]
#[case("..")]
#[case("/etc/passwd")]
#[case("a/../../b")]
#[case("a\0b")]
#[tokio::test]
async fn some_texts_name_no_file(#[case] path: &str) {
    let work = Work::new();
    work.write("new", "");
    for route in ["stage", "unstage", "discard"] {
        assert_eq!(work.paths(route, &[path]).await, 400, "{route}");
    }
    assert_eq!(work.lists().await[2], ["new"]);
}

#[tokio::test]
async fn differences_are_those_of_the_files_or_of_what_is_staged() {
    let work = Work::new();
    work.write("a", "two\n");
    let diff = async |query: &str| work.ask(Method::GET, &format!("diff{query}"), json!({})).await.1;
    assert!(diff("").await.ends_with("-one\n+two\n"));
    assert_eq!(diff("?staged=true").await, "");
    assert_eq!(diff("?path=b").await, "");
    assert_eq!(work.paths("stage", &["a"]).await, 204);
    assert!(diff("?staged=true&path=a").await.ends_with("-one\n+two\n"));
}

#[tokio::test]
async fn a_difference_has_an_end() {
    let work = Work::new();
    work.write("a", &"a line of twenty or so\n".repeat(200_000));
    let (status, diff) = work.ask(Method::GET, "diff", json!({})).await;
    assert_eq!(status, 200);
    assert!(diff.len() <= 2 << 20 && diff.len() > 1 << 20 && diff.ends_with('\n'));
}

#[tokio::test]
async fn a_commit_is_made_of_what_is_staged() {
    let work = Work::new();
    let nothing = problem(work.post("commit", json!({ "message": "none" })).await);
    assert_eq!((nothing.0, nothing.1.code.as_str()), (409, "NothingToCommit"));
    work.write("b", "");
    work.paths("stage", &[]).await;
    let (status, body) = work.post("commit", json!({ "message": "# second\n\nmore" })).await;
    assert_eq!(status, 200, "{body}");
    let committed: Committed = serde_json::from_str(&body).unwrap();
    let now = work.status().await;
    assert_eq!((now.head, now.clean, now.branch.as_deref()), (Some(committed.head), true, Some("main")));
}

#[rstest]
#[case("")]
#[case("  \n")]
#[tokio::test]
async fn a_commit_says_what_was_done(#[case] message: &str) {
    assert_eq!(problem(Work::new().post("commit", json!({ "message": message })).await).0, 400);
}

#[tokio::test]
async fn what_a_hook_says_is_told() {
    use std::os::unix::fs::PermissionsExt;
    let work = Work::new();
    work.write(".git/hooks/pre-commit", "#!/bin/sh\necho the tests fail\nexit 1\n");
    fs::set_permissions(work.path(".git/hooks/pre-commit"), fs::Permissions::from_mode(0o755)).unwrap();
    work.write("a", "two\n");
    work.paths("stage", &[]).await;
    let (status, problem) = problem(work.post("commit", json!({ "message": "second" })).await);
    assert_eq!((status, problem.code.as_str()), (409, "CommitFailed"));
    assert!(problem.details["output"].contains("the tests fail"), "{problem:?}");
}
