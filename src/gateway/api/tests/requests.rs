//! What is done by one request and one answer.

use super::*;

#[tokio::test]
async fn a_command_is_waited_for() {
    let body = r#"{"command":["ls","-l"],"timeoutMs":5000}"#;
    let (status, result) = world().asked("developer", "POST", "workspaces/web/exec", body).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(result["stdout"], r#"["ls", "-l"] Some(5000)"#);
    assert_eq!(result["exitCode"], 0);
}

#[tokio::test]
async fn root_is_not_the_agents_to_be() {
    let world = world();
    let body = r#"{"shell":"id"}"#;
    let (status, result) = world.asked("administrator", "POST", "workspaces/web/exec-root", body).await;
    assert_eq!((status.as_u16(), result["stdout"].as_str()), (200, Some("root for administrator")));
    assert!(world.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_log_is_text() {
    let path = "devservers/web/log?tailLines=5&follow=true";
    let response = world().request("reader", "GET", path, "").await;
    let headers = response.headers().clone();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "tail 5\nfollow true\n");
    assert_eq!(headers["content-type"], "text/plain; charset=utf-8");
    assert_eq!(headers["berth-log-offset"], "42");
    assert_eq!(headers["x-content-type-options"], "nosniff");
    assert!(headers["content-security-policy"].to_str().unwrap().starts_with("sandbox"));
}

#[tokio::test]
async fn a_file_is_no_page_of_ours() {
    let response = world().request("reader", "GET", "workspaces/web/files?path=a.html&offset=3", "").await;
    assert_eq!(response.headers()["content-type"], "application/octet-stream");
    assert_eq!(response.headers()["etag"], "\"7\"");
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, r#"[("path", "a.html"), ("offset", "3")]"#);
}

#[tokio::test]
async fn a_file_is_written() {
    let world = world();
    let response = world.request("developer", "PUT", "workspaces/web/files?path=a&mode=755", "hello").await;
    assert_eq!((response.status().as_u16(), &response.headers()["etag"]), (204, &"\"8\"".parse().unwrap()));
    assert_eq!(*world.asked.lock().unwrap(), ["PUT /v1/files?path=a&mode=755"]);
}

#[tokio::test]
async fn the_agents_word_for_a_problem_comes_through() {
    let path = "workspaces/web/files?path=/etc/passwd";
    let (status, body) = world().asked("developer", "PUT", path, "x").await;
    assert_eq!((status.as_u16(), body["reason"].as_str()), (403, Some("PathNotAllowed")));
}

#[rstest]
#[case(9, false)]
#[case(11, true)]
#[tokio::test]
async fn too_large_a_file_is_refused(#[case] length: usize, #[case] refused: bool) {
    let settings = Settings { largest_transfer: 10, ..Settings::default() };
    // Without an announced length it only shows on the way.
    let parts = futures::stream::iter(vec![Ok::<_, Infallible>(Bytes::from_static(b"x")); length]);
    let request = Request::builder()
        .method("PUT")
        .uri(format!("/apis/{GROUP}/{VERSION}/namespaces/team/workspaces/web/files?path=a"))
        .header("test-user", "developer")
        .body(Body::from_stream(parts))
        .unwrap();
    let response = world_with(settings).router().oneshot(request).await.unwrap();
    assert_eq!(response.status() == StatusCode::PAYLOAD_TOO_LARGE, refused, "{}", response.status());
}

#[rstest]
#[case("workspaces/web/proxy/3000/a%20b?q=1", "GET /a%20b?q=1 host")]
#[case("devservers/web/proxy", "GET / host")]
#[tokio::test]
async fn an_application_is_asked(#[case] path: &str, #[case] expected: &str) {
    let response = world().request("developer", "GET", path, "").await;
    let headers = response.headers().clone();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, expected);
    assert_eq!(headers["x-mine"], "yes");
    assert!(!headers.contains_key("set-cookie"));
    assert!(headers["content-security-policy"].to_str().unwrap().starts_with("sandbox "));
    assert_eq!(headers["x-content-type-options"], "nosniff");
}

#[tokio::test]
async fn a_port_that_nobody_opened_is_told() {
    let (status, body) = world().asked("developer", "GET", "workspaces/web/proxy/9/", "").await;
    assert_eq!((status.as_u16(), body["reason"].as_str()), (502, Some("PortClosed")));
}
