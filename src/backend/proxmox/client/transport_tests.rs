//! What the client makes of connections that fail in all the ways they can.

use std::{collections::BTreeSet, time::Duration};

use rstest::rstest;
use serde_json::{Value, json};

use super::{
    Cause, Client, Effect, Error, Failure, Lock, NodeName, Reached, Trust,
    call::{Call, Parameters},
    scripted::{Node, Step, answer, connection, data, nobody, refusal},
};

async fn read(client: &Client) -> Result<Value, Error> {
    client.transport.call(Call::get(&["version"])).await
}

async fn write(client: &Client) -> Result<Value, Error> {
    let call = Call::post(&["nodes", "pve1", "lxc"]).with(Parameters::default().text("vmid", 105));
    client.transport.call(call).await
}

async fn repeatable(client: &Client) -> Result<Value, Error> {
    client.transport.call(Call::put(&["x"]).repeatable().with(Parameters::default().text("a", 1))).await
}

#[tokio::test]
async fn a_call_carries_the_token_and_its_form() {
    let node = Node::start([data("null")]).await;
    write(&node.client()).await.unwrap();
    let [request] = node.received().try_into().unwrap();
    assert_eq!(request.line(), "POST /api2/json/nodes/pve1/lxc");
    assert_eq!(request.body, "vmid=105");
    let head = request.head.to_ascii_lowercase();
    assert!(head.contains("authorization: pveapitoken=berth@pve!test=11-22\r\n"), "{head}");
    assert!(head.contains("content-type: application/x-www-form-urlencoded"), "{head}");
    assert!(!head.contains("transfer-encoding"), "{head}");
}

#[tokio::test]
async fn a_write_without_parameters_says_that_its_body_is_empty() {
    let node = Node::start([data("null")]).await;
    let _: Value = node.client().transport.call(Call::post(&["x"])).await.unwrap();
    assert!(node.received()[0].head.to_ascii_lowercase().contains("content-length: 0\r\n"));
}

#[rstest]
#[case("500 CT is locked (disk)", Cause::Locked(Lock::Disk))]
#[case("500 CT 105 already running", Cause::Running)]
#[tokio::test]
async fn the_reason_phrase_tells_what_happened(#[case] status_line: &str, #[case] expected: Cause) {
    let node = Node::start([refusal(status_line)]).await;
    let error = write(&node.client()).await.unwrap_err();
    assert_eq!(error.cause(), Some(&expected));
    assert_eq!(error.to_string(), format!("POST /nodes/pve1/lxc: {}", &status_line[4..]));
    assert_eq!(error.effect, Effect::Nothing);
}

#[tokio::test]
async fn a_reason_phrase_beyond_ascii_falls_back_to_the_message() {
    let body = json!({"data": null, "message": "Gerät: CT is locked (disk)\n"}).to_string();
    let node = Node::start([Step::Say(answer("500 Gerät", &body))]).await;
    let error = write(&node.client()).await.unwrap_err();
    assert_eq!(error.cause(), Some(&Cause::Locked(Lock::Disk)));
}

#[tokio::test]
async fn a_connection_is_used_again_by_reads_and_never_by_writes() {
    let node = Node::start([data(1), data(2), data(3), data(4)]).await;
    let client = node.client();
    read(&client).await.unwrap();
    read(&client).await.unwrap();
    write(&client).await.unwrap();
    write(&client).await.unwrap();
    let connections = node.received().iter().map(|request| request.connection).collect::<Vec<_>>();
    assert_eq!(connections, [1, 1, 2, 3]);
}

#[tokio::test]
async fn a_connection_that_is_closed_and_kept_alive_at_once_counts_as_closed() {
    let both = "HTTP/1.1 200 OK\r\nConnection: close\r\nConnection: Keep-Alive\r\n\
                Content-Length: 10\r\n\r\n{\"data\":1}";
    let node = Node::start([Step::Say(both.to_owned()), data(2)]).await;
    let client = node.client();
    assert_eq!(read(&client).await.unwrap(), 1);
    assert_eq!(read(&client).await.unwrap(), 2);
    assert_eq!(node.received()[1].connection, 2);
}

#[tokio::test]
async fn a_read_survives_a_connection_that_was_closed_while_idle() {
    let Step::Say(raw) = data(1) else { unreachable!() };
    let node = Node::start([Step::SayAndClose(raw), data(2)]).await;
    let client = node.client();
    assert_eq!(read(&client).await.unwrap(), 1);
    assert_eq!(read(&client).await.unwrap(), 2);
}

#[tokio::test]
async fn a_read_is_repeated_a_few_times() {
    let node = Node::start([Step::HangUp, refusal("595 Connection refused"), data(1)]).await;
    assert_eq!(read(&node.client()).await.unwrap(), 1);
    let node = Node::start([Step::HangUp, Step::HangUp, Step::HangUp, data(1)]).await;
    let error = read(&node.client()).await.unwrap_err();
    assert!(matches!(error.failure, Failure::Lost(_)), "{error}");
    assert_eq!(error.effect, Effect::Nothing);
    assert_eq!(node.received().len(), 3);
}

#[rstest]
#[case::no_answer(Step::HangUp)]
#[case::cut_in_the_head(Step::SayAndClose("HTTP/1.1 200 OK\r\nContent-Le".to_owned()))]
#[case::cut_in_the_body(Step::SayAndClose("HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n{".to_owned()))]
#[case::no_json(Step::Say(answer("200 OK", "<html>")))]
#[case::proxy_timeout(refusal("596 Connection timed out"))]
#[tokio::test]
async fn a_write_whose_answer_is_lost_is_not_repeated(#[case] step: Step) {
    let node = Node::start([step, data(1)]).await;
    let error = write(&node.client()).await.unwrap_err();
    assert_eq!(error.effect, Effect::Unknown, "{error}");
    assert_eq!(node.received().len(), 1);
}

#[tokio::test]
async fn a_failure_of_the_proxy_has_no_body() {
    let node = Node::start([refusal("595 Connection refused")]).await;
    let error = write(&node.client()).await.unwrap_err();
    let expected = Failure::Proxy { reached: Reached::Nobody, words: "Connection refused".to_owned() };
    assert_eq!((error.failure, error.effect), (expected, Effect::Nothing));
    assert_eq!(node.received().len(), 1);
}

#[tokio::test]
async fn what_an_earlier_attempt_may_have_done_is_not_forgotten() {
    let node = Node::start([Step::HangUp, refusal("500 CT is locked (disk)")]).await;
    let error = repeatable(&node.client()).await.unwrap_err();
    assert_eq!(error.cause(), Some(&Cause::Locked(Lock::Disk)));
    assert_eq!(error.effect, Effect::Unknown);
    assert_eq!(node.received().len(), 2);
}

#[tokio::test]
async fn a_slow_answer_ends_the_call_in_time() {
    let node = Node::start([Step::Hang]).await;
    let mut settings = connection(&[&node.url()]);
    settings.limits.write = Duration::from_millis(300);
    let error = write(&Client::new(&settings).unwrap()).await.unwrap_err();
    assert!(matches!(error.failure, Failure::Lost(_)), "{error}");
    assert_eq!(error.effect, Effect::Unknown);
}

#[tokio::test]
async fn a_call_fails_over_when_an_endpoint_can_not_be_connected() {
    let down = nobody().await;
    let node = Node::start([data(1), data(2)]).await;
    let client = Client::new(&connection(&[&down, &node.url()])).unwrap();
    assert_eq!(read(&client).await.unwrap(), 1);
    assert_eq!(write(&client).await.unwrap(), 2);
}

#[tokio::test]
async fn a_read_goes_to_another_endpoint_when_one_has_lost_its_cluster() {
    let words = "500 RPCEnvironment init request failed: Unable to load access control list: \
                 Connection refused";
    let (first, second) = (Node::start([refusal(words)]).await, Node::start([data(1)]).await);
    let client = Client::new(&connection(&[&first.url(), &second.url()])).unwrap();
    assert_eq!(read(&client).await.unwrap(), 1);
    assert_eq!((first.received().len(), second.received().len()), (1, 1));
}

#[tokio::test]
async fn a_write_that_was_received_does_not_go_to_another_endpoint() {
    let (first, second) = (Node::start([Step::HangUp]).await, Node::start([data(1)]).await);
    let client = Client::new(&connection(&[&first.url(), &second.url()])).unwrap();
    assert_eq!(write(&client).await.unwrap_err().effect, Effect::Unknown);
    assert_eq!((first.received().len(), second.received().len()), (1, 0));
}

#[tokio::test]
async fn all_endpoints_down_is_unreachable_and_did_nothing() {
    let (one, two) = (nobody().await, nobody().await);
    let client = Client::new(&connection(&[&one, &two])).unwrap();
    let error = write(&client).await.unwrap_err();
    assert!(matches!(error.failure, Failure::Unreachable(_)), "{error}");
    assert_eq!(error.effect, Effect::Nothing);
    for address in [one, two] {
        assert!(error.to_string().contains(&address), "{error}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let step = "HTTP/1.1 302 Found\r\nLocation: https://elsewhere.example/\r\nContent-Length: 0\r\n\r\n";
    let node = Node::start([Step::Say(step.to_owned())]).await;
    let error = read(&node.client()).await.unwrap_err();
    assert!(matches!(error.failure, Failure::Unexpected { status: 302, .. }), "{error}");
}

#[tokio::test]
async fn a_container_gets_one_call_at_a_time() {
    let mut node = Node::start([Step::Hang, data(1)]).await;
    let mut settings = connection(&[&node.url()]);
    settings.limits.read = Duration::from_millis(300);
    let client = Client::new(&settings).unwrap();
    let pve1: NodeName = "pve1".parse().unwrap();
    let start = Call::post(&["start"]).at(&pve1, "105".parse().ok());
    let started = client.transport.call::<Value>(start);
    tokio::pin!(started);
    tokio::select! {
        answer = &mut started => panic!("{answer:?}"),
        () = node.wait_for(1) => {}
    }
    let look = Call::get(&["look"]).at(&pve1, "105".parse().ok());
    let error = client.transport.call::<Value>(look).await.unwrap_err();
    assert_eq!((error.failure, error.effect), (Failure::Busy, Effect::Nothing));
    let other = Call::get(&["look"]).at(&pve1, "106".parse().ok());
    assert_eq!(client.transport.call::<Value>(other).await.unwrap(), 1);
}

#[tokio::test]
async fn certificates_are_verified() {
    let node = Node::with_tls([data(1), data(2), data(3)]).await;
    let pem = node.certificate.as_ref().unwrap().cert.pem();
    let other = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap().cert.pem();
    let wrong: super::Fingerprint = "00".repeat(32).parse().unwrap();
    for (trust, trusted) in [
        (Trust::Authorities(pem), true),
        (Trust::Authorities(other), false),
        (Trust::Pinned(BTreeSet::from([node.fingerprint(), wrong])), true),
        (Trust::Pinned(BTreeSet::from([wrong])), false),
        (Trust::SystemRoots, false),
        (Trust::InsecureSkipVerify, true),
    ] {
        let shown = format!("{trust:.60?}");
        let client = Client::new(&super::Connection { trust, ..connection(&[&node.url()]) });
        // A machine without any authority can not be told to trust them.
        let Ok(client) = client else { continue };
        match write(&client).await {
            Ok(_) => assert!(trusted, "{shown}"),
            Err(error) => {
                assert!(!trusted, "{shown}: {error}");
                assert!(matches!(error.failure, Failure::Unreachable(_)), "{error}");
            }
        }
    }
    assert_eq!(node.received().len(), 3);
}

#[test]
fn trust_in_nobody_is_a_mistake() {
    for trust in [Trust::Pinned(BTreeSet::new()), Trust::Authorities("no certificate".to_owned())] {
        let settings = super::Connection { trust, ..connection(&["https://127.0.0.1:1"]) };
        assert!(matches!(Client::new(&settings), Err(super::InvalidConnection::Trust(_))));
    }
}

#[tokio::test]
async fn a_wrong_fingerprint_is_shown() {
    let node = Node::with_tls([]).await;
    let wrong = "00".repeat(32).parse().unwrap();
    let trust = Trust::Pinned(BTreeSet::from([wrong]));
    let client = Client::new(&super::Connection { trust, ..connection(&[&node.url()]) }).unwrap();
    let error = read(&client).await.unwrap_err();
    assert!(error.to_string().contains(&node.fingerprint().to_string()), "{error}");
    assert!(node.lines().is_empty());
}
