//! What goes over WebSockets.

use super::*;

#[tokio::test]
async fn a_streaming_command_has_its_channels() {
    let path = "workspaces/web/exec?command=cat&command=-u&stdin=true";
    let mut channels = world().socket("developer", path).await.unwrap();
    channels.expect(1, "[\"cat\", \"-u\"]\n").await;
    channels.send(0, b"hello").await;
    channels.expect(1, "hello").await;
    channels.send(4, br#"{"Width":80,"Height":24}"#).await;
    channels.expect(2, r#"{"cols":80,"rows":24}"#).await;
    channels.send(255, &[0]).await;
    let status = channels.status().await;
    assert_eq!(status["reason"], "NonZeroExitCode");
    assert_eq!(status["details"]["causes"][0], json!({"reason": "ExitCode", "message": "3"}));
}

#[tokio::test]
async fn a_command_that_does_not_start_says_so() {
    let mut channels = world().socket("developer", "workspaces/web/exec?command=missing").await.unwrap();
    let status = channels.status().await;
    assert_eq!(
        (status["status"].as_str(), status["reason"].as_str()),
        (Some("Failure"), Some("CommandNotFound"))
    );
}

#[rstest]
#[case("reader", "workspaces/web/exec?command=id", 403)]
#[case("developer", "workspaces/asleep/exec?command=id", 409)]
#[case("developer", "workspaces/web/exec?stdin=true", 422)]
#[tokio::test]
async fn a_refusal_comes_before_the_upgrade(#[case] user: &str, #[case] path: &str, #[case] expected: u16) {
    let refused = world().socket(user, path).await.err().expect("it was let in");
    assert_eq!(refusal(refused), expected);
}

#[tokio::test]
async fn a_terminal_tells_where_its_output_stands() {
    let path = "workspaces/web/attach?terminal=main&since=3&cols=80&rows=24";
    let world = world();
    let mut channels = world.socket("developer", path).await.unwrap();
    channels.expect(5, r#"{"terminal":"t1","offset":7}"#).await;
    channels.expect(1, "$ ").await;
    channels.send(0, b"ls\r").await;
    channels.expect(1, "ls\r").await;
    assert_eq!(*world.asked.lock().unwrap(), ["POST /v1/terminals/main?since=3&cols=80&rows=24"]);
}

#[tokio::test]
async fn a_terminal_that_is_not_there_is_not_found() {
    let path = "workspaces/web/attach?terminal=main&existing=true";
    let refused = world().socket("developer", path).await.err().expect("it was let in");
    assert_eq!(refusal(refused), 404);
}

#[tokio::test]
async fn a_port_is_forwarded() {
    let mut channels = world().socket("developer", "workspaces/web/portforward?ports=3000,9").await.unwrap();
    for (channel, port) in [(0, 3000_u16), (1, 3000), (2, 9), (3, 9)] {
        assert_eq!(channels.next().await.unwrap(), (channel, port.to_le_bytes().to_vec()));
    }
    channels.expect(3, "nothing listens on port 9 of the workspace").await;
    channels.send(0, b"GET /x HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    let mut answer = Vec::new();
    while let Some((channel, bytes)) = channels.next().await {
        assert_eq!(channel, 0);
        answer.extend(bytes);
    }
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("GET /x host,connection"), "{answer}");
}

#[tokio::test]
async fn an_application_may_have_websockets_of_its_own() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = world().router();
    tokio::spawn(async move { axum::serve(listener, router).await });
    let path = format!("/apis/{GROUP}/{VERSION}/namespaces/team/workspaces/web/proxy/3000/echo");
    let mut request = format!("ws://{address}{path}").into_client_request().unwrap();
    request.headers_mut().insert("test-user", "developer".parse().unwrap());
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut socket, _) = tokio_tungstenite::client_async(request, stream).await.unwrap();
    socket.send(Message::Text("hello".into())).await.unwrap();
    let echoed = timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(echoed, Message::Text("hello".into()));
}

#[tokio::test]
async fn a_session_ends_with_the_right_to_it() {
    let settings = Settings { review_every: Duration::from_millis(20), ..Settings::default() };
    let world = world_with(settings);
    let path = "workspaces/web/exec?command=cat&stdin=true";
    let mut channels = world.socket("guest", path).await.unwrap();
    channels.expect(1, "[\"cat\"]\n").await;
    world.people.guest.store(false, Ordering::SeqCst);
    assert_eq!(channels.status().await["reason"], "Forbidden");
}

#[tokio::test]
async fn a_session_ends_with_a_word_when_the_gateway_stops() {
    let world = world();
    let path = "workspaces/web/exec?command=cat&stdin=true";
    let mut channels = world.socket("developer", path).await.unwrap();
    channels.expect(1, "[\"cat\"]\n").await;
    world.stop.cancel();
    assert_eq!(channels.status().await["reason"], "NotReady");
}
