use rstest::rstest;
use serde_json::json;

use super::*;

#[rstest]
#[case(json!({"argv": ["echo", "a  b", "$HOME"]}), "a  b $HOME\n", "", 0)]
#[case(json!({"shell": "echo out; echo err >&2; exit 3"}), "out\n", "err\n", 3)]
#[case(json!({"shell": "cat", "stdin": "fed"}), "fed", "", 0)]
#[case(json!({"shell": "cat"}), "", "", 0)]
#[case(json!({"argv": ["printenv", "GREETING"], "env": {"GREETING": "hi"}}), "hi\n", "", 0)]
#[case(json!({"shell": "echo kept; sleep 100 &"}), "kept\n", "", 0)]
#[tokio::test]
async fn commands_are_waited_for(
    #[case] request: serde_json::Value,
    #[case] stdout: &str,
    #[case] stderr: &str,
    #[case] code: i32,
) {
    let (status, result) = Scene::new().await.ask("POST", "/v1/exec", request).await;
    assert_eq!(status, 200, "{result}");
    assert_eq!((result["stdout"].as_str(), result["stderr"].as_str()), (Some(stdout), Some(stderr)));
    assert_eq!((result["exitCode"].as_i64(), &result["truncated"]), (Some(code.into()), &json!(false)));
}

#[tokio::test]
async fn a_command_starts_in_the_workspace_or_below() {
    let scene = Scene::new().await;
    std::fs::create_dir(scene.path("src")).unwrap();
    for (cwd, folder) in [("", scene.workspace()), ("src", scene.path("src")), ("/", "/".into())] {
        let (_, result) = scene.ask("POST", "/v1/exec", json!({"argv": ["pwd"], "cwd": cwd})).await;
        assert_eq!(result["stdout"].as_str().unwrap().trim(), folder.to_str().unwrap());
    }
}

#[tokio::test]
async fn long_output_keeps_its_end() {
    let request = json!({"shell": "yes | head -c 5000000; echo end", "maxBytes": 10});
    let (_, result) = Scene::new().await.ask("POST", "/v1/exec", request).await;
    assert_eq!((&result["stdout"], &result["truncated"]), (&json!("y\ny\ny\nend\n"), &json!(true)));
}

#[tokio::test]
async fn what_takes_too_long_is_ended_with_all_it_started() {
    let scene = Scene::new().await;
    let line = "echo begun; trap '' TERM; sleep 1000 & echo $! > pid; wait; sleep 1000";
    let (_, result) = scene.ask("POST", "/v1/exec", json!({"shell": line, "timeoutMs": 500})).await;
    assert_eq!((&result["timedOut"], &result["stdout"]), (&json!(true), &json!("begun\n")));
    assert_eq!(result["signal"], json!(9));
    assert!(scene.path("pid").exists() && !is_alive(&scene.path("pid")));
}

#[tokio::test]
async fn a_client_that_goes_away_ends_its_command() {
    let scene = Scene::new().await;
    let request = Request::post("http://agent/v1/exec")
        .header("content-type", "application/json")
        .body(Body::from(json!({"shell": "sleep 1000 & echo $! > pid; wait"}).to_string()))
        .unwrap();
    let mut client = scene.client.clone();
    let asking = tokio::spawn(async move { client.send_request(request).await });
    until(|| is_alive(&scene.path("pid"))).await;
    asking.abort();
    until(|| !is_alive(&scene.path("pid"))).await;
}

#[rstest]
#[case(json!({}), 400, "Invalid")]
#[case(json!({"argv": ["ls"], "shell": "ls"}), 400, "Invalid")]
#[case(json!({"argv": ["ls"], "cwd": "nowhere"}), 404, "NotFound")]
#[case(json!({"shell": "x".repeat(2 << 20)}), 413, "TooLarge")]
#[tokio::test]
async fn nonsense_is_refused(#[case] request: serde_json::Value, #[case] status: u16, #[case] code: &str) {
    let (seen, problem) = Scene::new().await.ask("POST", "/v1/exec", request).await;
    assert_eq!((seen.as_u16(), &problem["code"]), (status, &json!(code)));
}
