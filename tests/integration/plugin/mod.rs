//! The commands of `kubectl berth` that need the API server alone: the real one, and the real
//! program. Where a status matters, the test writes it as the operator would.

use std::process::{Output, Stdio};

use kube::api::{Patch, PatchParams};
use rstest::rstest;
use serde_json::{Value, json};
use tokio::process::Command;

use berth::api::Workspace;

use crate::support::{Namespace, control_plane, objects};

/// Runs the plugin as the administrator.
async fn plugin(namespace: &str, arguments: &[&str]) -> Output {
    command(namespace, arguments).await.output().await.expect("kubectl-berth does not start")
}

async fn command(namespace: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-berth"));
    command
        .args(["--namespace", namespace])
        .args(arguments)
        .env("KUBECONFIG", control_plane().await.kubeconfig())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

async fn set_status(namespace: &Namespace, name: &str, status: Value) {
    namespace
        .api::<Workspace>()
        .patch_status(name, &PatchParams::default(), &Patch::Merge(json!({"status": status})))
        .await
        .expect("the status is refused");
}

fn ready(status: &str, generation: i64) -> Value {
    json!({"observedGeneration": generation, "phase": "Running", "conditions": [{
        "type": "Ready", "status": status, "reason": "Because", "message": "of this",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }]})
}

fn failed(retryable: bool) -> Value {
    json!({"observedGeneration": 1, "phase": "Failed", "step": "CloningRepository", "stepIndex": 5, "totalSteps": 8,
        "error": {"step": "CloningRepository", "reason": "GitAuthFailed", "message": "no such token",
            "hint": "Put a token into the Secret.", "at": "2026-01-01T00:00:00Z", "retryable": retryable}})
}

#[rstest]
#[case(&["why", "nobody"])]
#[case(&["wait", "nobody"])]
#[case(&["suspend", "nobody"])]
#[case(&["resume", "nobody"])]
#[tokio::test]
async fn a_workspace_that_is_not_there_is_said_in_one_line(#[case] arguments: &[&str]) {
    let namespace = control_plane().await.namespace("plugin").await;
    let output = plugin(&namespace.name, arguments).await;
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    let expected = format!("error: workspace \"nobody\" not found in namespace {:?}", namespace.name);
    assert_eq!(text(&output.stderr).lines().next(), Some(expected.as_str()));
    namespace.delete().await;
}

#[tokio::test]
async fn without_a_gateway_a_shell_says_what_is_missing() {
    let namespace = control_plane().await.namespace("plugin").await;
    objects::workspace(&namespace, "a", json!({})).await;
    let output = plugin(&namespace.name, &["exec", "a", "--", "true"]).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(text(&output.stderr).starts_with("error: the cluster does not serve this part of Berth\n"));
    namespace.delete().await;
}

#[tokio::test]
async fn what_is_forbidden_has_a_code_of_its_own() {
    let namespace = control_plane().await.namespace("plugin").await;
    objects::workspace(&namespace, "a", json!({})).await;
    let output = plugin(&namespace.name, &["--as", "stranger", "suspend", "a"]).await;
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    let output = plugin(&namespace.name, &["--token", "nonsense", "suspend", "a"]).await;
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    assert!(text(&output.stderr).contains("401"));
    namespace.delete().await;
}

#[tokio::test]
async fn suspend_and_resume_write_the_spec() {
    let namespace = control_plane().await.namespace("plugin").await;
    objects::workspace(&namespace, "a", json!({"env": [{"name": "KEPT", "value": "1"}]})).await;
    for (word, mode) in [("suspend", "Suspended"), ("resume", "Running")] {
        let output = plugin(&namespace.name, &[word, "a"]).await;
        assert!(output.status.success(), "{output:?}");
        let found = namespace.api::<Workspace>().get("a").await.unwrap();
        assert_eq!(format!("{:?}", found.spec.operating_mode), mode);
        assert_eq!(found.spec.env.len(), 1, "nothing else is changed");
    }
    namespace.delete().await;
}

#[tokio::test]
async fn what_a_command_stopped_is_started_by_a_command() {
    let namespace = control_plane().await.namespace("plugin").await;
    objects::workspace(&namespace, "a", json!({})).await;
    let power = json!({"state": "Suspended", "reason": "Requested", "by": "ada", "at": "2026-01-01T00:00:00Z", "generation": 1});
    set_status(&namespace, "a", json!({"power": power})).await;
    for word in ["resume", "restart"] {
        // There is no gateway, so it shows that the subresource was asked for.
        let output = plugin(&namespace.name, &[word, "a"]).await;
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(text(&output.stderr).starts_with("error: the cluster does not serve this part of Berth\n"));
    }
    namespace.delete().await;
}

#[tokio::test]
async fn why_says_what_is_wrong_and_what_to_do() {
    let namespace = control_plane().await.namespace("plugin").await;
    objects::workspace(&namespace, "a", json!({})).await;
    let output = plugin(&namespace.name, &["why", "a"]).await;
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert!(text(&output.stdout).contains("nobody has looked at this object yet"), "{output:?}");

    set_status(&namespace, "a", failed(false)).await;
    let output = plugin(&namespace.name, &["why", "a"]).await;
    let shown = text(&output.stdout);
    for part in [
        "workspace/a is Failed: GitAuthFailed",
        "no such token",
        "step 5 of 8",
        "Put a token into",
        "berth.dev/retry-nonce",
    ] {
        assert!(shown.contains(part), "{part:?} is missing in {shown}");
    }

    let output = plugin(&namespace.name, &["why", "-o", "json"]).await;
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found[0]["trouble"]["reason"], "GitAuthFailed");
    namespace.delete().await;
}

#[tokio::test]
async fn why_has_nothing_to_say_of_what_is_well() {
    let namespace = control_plane().await.namespace("plugin").await;
    objects::workspace(&namespace, "a", json!({})).await;
    set_status(&namespace, "a", ready("True", 1)).await;
    let output = plugin(&namespace.name, &["why", "a"]).await;
    assert_eq!(text(&output.stdout), "workspace/a is Running: nothing is wrong.\n");
    assert_eq!(output.status.code(), Some(0));
    namespace.delete().await;
}

#[tokio::test]
async fn wait_ends_when_the_workspace_is_ready_for_the_present_spec() {
    let namespace = control_plane().await.namespace("plugin").await;
    objects::workspace(&namespace, "a", json!({})).await;
    set_status(&namespace, "a", ready("False", 1)).await;
    let waiting = command(&namespace.name, &["wait", "a", "-o", "json"]).await.spawn().unwrap();
    let output = waiting.wait_with_output();
    let (output, ()) = tokio::join!(output, set_status(&namespace, "a", ready("True", 1)));
    let output = output.unwrap();
    assert!(output.status.success(), "{output:?}");
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["metadata"]["name"], "a");
    namespace.delete().await;
}

#[rstest]
#[case::time(ready("False", 1), &["wait", "a", "--timeout", "1s"], "is not ready after 1s")]
#[case::old_status(ready("True", 0), &["wait", "a", "--timeout", "1s"], "has not seen the last change")]
#[case::stuck(failed(false), &["wait", "a"], "GitAuthFailed: no such token")]
#[case::not_suspended(ready("True", 1), &["wait", "a", "--for", "suspended"], "not meant to be suspended")]
#[tokio::test]
async fn wait_says_why_it_gives_up(
    #[case] status: Value,
    #[case] arguments: &[&str],
    #[case] expected: &str,
) {
    let namespace = control_plane().await.namespace("plugin").await;
    objects::workspace(&namespace, "a", json!({})).await;
    set_status(&namespace, "a", status).await;
    let output = plugin(&namespace.name, arguments).await;
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert!(text(&output.stderr).contains(expected), "{output:?}");
    namespace.delete().await;
}

#[rstest]
#[case(&["exec", "a"])]
#[case(&["cp", "a", "b"])]
#[case(&["--context", "nobody", "why"])]
#[tokio::test]
async fn a_wrong_line_has_a_code_of_its_own(#[case] arguments: &[&str]) {
    let output = plugin("default", arguments).await;
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

#[rstest]
#[case("bash", "complete -F")]
#[case("zsh", "#compdef kubectl-berth")]
#[case("fish", "complete -c kubectl-berth")]
#[tokio::test]
async fn completion_needs_no_cluster(#[case] shell: &str, #[case] expected: &str) {
    let output = Command::new(env!("CARGO_BIN_EXE_kubectl-berth"))
        .args(["completion", shell])
        .env("KUBECONFIG", "/nowhere")
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(text(&output.stdout).contains(expected));
}

/// `kubectl berth ... | head -1`, where the reader is gone before anything is written.
#[rstest]
#[case(&["completion", "bash"])]
#[case(&["version"])]
#[tokio::test]
async fn an_output_that_nobody_reads_ends_it_quietly(#[case] arguments: &[&str]) {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = Command::new(env!("CARGO_BIN_EXE_kubectl-berth"))
        .args(arguments)
        .stdout(writer)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
        .wait_with_output()
        .await
        .unwrap();
    assert_eq!(output.status.code(), Some(141), "{output:?}");
    assert_eq!(text(&output.stderr), "");
}
