//! Who may do what, and of which workspace.

use std::num::NonZeroU32;

use super::*;
use crate::{gateway::api::rates::Rates, listener::Peer};

#[rstest]
#[case("reader", "GET", "devservers/web/log", 200)]
#[case("reader", "GET", "workspaces/web/files?path=a", 200)]
#[case("reader", "POST", "workspaces/web/exec", 403)]
#[case("reader", "GET", "workspaces/web/proxy/3000/", 403)]
#[case("reader", "PUT", "workspaces/web/files?path=a", 403)]
#[case("reader", "POST", "devservers/web/restart", 403)]
#[case("developer", "POST", "devservers/web/restart", 204)]
#[case("developer", "POST", "workspaces/web/exec-root", 403)]
#[case("stranger", "GET", "workspaces/web/stats", 403)]
#[case("reader", "POST", "workspaces/web/restart", 403)]
#[case("reader", "POST", "workspaces/web/stop", 403)]
#[case("developer", "GET", "workspaces/web/stop", 405)]
#[case("developer", "POST", "workspaces/web/stop", 200)]
#[tokio::test]
async fn rights_decide(#[case] user: &str, #[case] method: &str, #[case] path: &str, #[case] expected: u16) {
    let (status, body) = world().asked(user, method, path, "{}").await;
    assert_eq!(status.as_u16(), expected, "{body}");
}

#[tokio::test]
async fn who_may_not_ask_learns_nothing_and_reaches_no_agent() {
    let world = world();
    let (there, _) = world.asked("stranger", "GET", "workspaces/web/stats", "").await;
    let (missing, _) = world.asked("stranger", "GET", "workspaces/missing/stats", "").await;
    assert_eq!((there.as_u16(), missing.as_u16()), (403, 403));
    assert!(world.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_request_without_a_user_is_refused() {
    let request = Request::builder()
        .uri(format!("/apis/{GROUP}/{VERSION}/namespaces/team/workspaces/web/stats"))
        .header("x-remote-user", "administrator")
        .body(Body::empty())
        .unwrap();
    let response = world().router().oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
}

#[rstest]
#[case(None, 401)]
#[case(Some("Bearer token-of-reader"), 403)]
#[case(Some("Bearer forged"), 401)]
#[case(Some("Basic token-of-developer"), 401)]
#[case(Some("Bearer token-of-developer"), 200)]
#[tokio::test]
async fn the_public_face_wants_a_token(#[case] header: Option<&str>, #[case] expected: u16) {
    let mut request = Request::builder().method("POST").uri("/api/v1/namespaces/team/workspaces/web/exec");
    if let Some(header) = header {
        request = request.header("authorization", header);
    }
    // What only the front proxy may say counts for nothing here.
    let mut request = request.body(Body::from(r#"{"command":["id"]}"#)).unwrap();
    request.extensions_mut().insert(identity("administrator"));
    let response = world().api.public_router().oneshot(request).await.unwrap();
    assert_eq!(response.status().as_u16(), expected);
    if expected != 200 {
        assert_eq!(response.headers()["content-type"], "application/problem+json");
    }
}

#[rstest]
#[case("workspaces/asleep/stats", 409, "Suspended")]
#[case("workspaces/young/stats", 503, "NotReady")]
#[case("workspaces/missing/stats", 404, "NotFound")]
#[case("workspaces/web/nothing", 404, "NotFound")]
#[case("devservers/leaving/log", 410, "Gone")]
#[case("workspaces/web/git", 409, "NoRepository")]
#[case("workspaces/web/stats", 502, "AgentUnavailable")]
#[tokio::test]
async fn problems_have_stable_words(#[case] path: &str, #[case] code: u16, #[case] reason: &str) {
    let (status, body) = world().asked("developer", "GET", path, "").await;
    assert_eq!((status.as_u16(), body["reason"].as_str()), (code, Some(reason)), "{body}");
    assert_eq!(body["kind"], "Status");
}

#[rstest]
#[case("web", "stop")]
#[case("asleep", "start")]
#[case("young", "restart")]
#[case("young", "reset-host-key")]
#[tokio::test]
async fn a_command_needs_no_agent(#[case] workspace: &str, #[case] word: &str) {
    let world = world();
    let path = format!("workspaces/{workspace}/{word}");
    let (status, body) = world.asked("developer", "POST", &path, "").await;
    assert_eq!(status, StatusCode::OK, "{body}");
    assert_eq!((&body["state"], &body["by"]), (&json!(word), &json!("developer")));
    assert!(world.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn the_log_of_a_container_needs_no_agent() {
    let world = world();
    let request = |query: &str| {
        let path = format!("/apis/{GROUP}/{VERSION}/namespaces/team/workspaces/asleep/log{query}");
        let mut request = Request::builder().uri(path).body(Body::empty()).unwrap();
        request.extensions_mut().insert(identity("reader"));
        request
    };
    let response = world.router().oneshot(request("?tailLines=5")).await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/plain; charset=utf-8");
    let text = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(text, "asleep 5 false\n");
    let refused = world.router().oneshot(request("?tailLines=0")).await.unwrap();
    assert_eq!(refused.status(), StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test]
async fn too_many_restarts_are_refused() {
    let world = world();
    for _ in 0..10 {
        let (status, _) = world.asked("developer", "POST", "devservers/web/restart", "").await;
        assert_eq!(status, StatusCode::NO_CONTENT);
    }
    let (status, body) = world.asked("developer", "POST", "devservers/web/restart", "").await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    assert!(body["details"]["retryAfterSeconds"].as_u64().unwrap() > 0, "{body}");
}

#[tokio::test]
async fn guessing_tokens_is_slowed_down() {
    let rates = Rates { log_in: NonZeroU32::new(2), ..Rates::default() };
    let router = world_with(Settings { rates, ..Settings::default() }).api.public_router();
    let ask = async |token: &str| {
        let mut request = Request::builder()
            .uri("/api/v1/namespaces/team/workspaces/web/files?path=a")
            .header("authorization", format!("Bearer {token}"))
            .body(Body::empty())
            .unwrap();
        let address = ([192, 0, 2, 1], 4000).into();
        request.extensions_mut().insert(Peer { address, secure: true, certificates: Arc::new([]) });
        router.clone().oneshot(request).await.unwrap().status().as_u16()
    };
    assert_eq!(ask("token-of-developer").await, 200);
    for guess in ["one", "two", "three"] {
        assert_eq!(ask(guess).await, 401);
    }
    assert_eq!(ask("four").await, 429);
    // Who was let in just before is not shut out with the guesser next door.
    assert_eq!(ask("token-of-developer").await, 200);
}
