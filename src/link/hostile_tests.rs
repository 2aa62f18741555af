//! The hub against agents that write the frames of HTTP/2 by hand, and not as they should be.

use std::time::Duration;

use berth_link::wire::Event;
use rstest::rstest;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    task::JoinHandle,
    time::{Instant, timeout},
};

use super::*;

const PATIENCE: Duration = Duration::from_secs(30);

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

/// Of DATA and HEADERS.
const END_STREAM: u8 = 1;
/// Of SETTINGS and PING.
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

/// `:status: 200`, as HPACK has it.
const OK: u8 = 0x88;

fn hub() -> Arc<Hub> {
    Hub::new("test", LinkMetrics::register(&prometheus::Registry::new()).unwrap())
}

fn id() -> BodyId {
    "0011223344556677".parse().unwrap()
}

fn other() -> BodyId {
    "ffeeddccbbaa9988".parse().unwrap()
}

/// One header, as HPACK has it without compression.
fn header(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![0];
    for text in [name, value] {
        // An integer of seven bits and more.
        match text.len() {
            short @ ..127 => bytes.push(u8::try_from(short).unwrap()),
            long => {
                bytes.push(127);
                let mut rest = long - 127;
                while rest >= 128 {
                    bytes.push(u8::try_from(rest % 128).unwrap() | 128);
                    rest /= 128;
                }
                bytes.push(u8::try_from(rest).unwrap());
            }
        }
        bytes.extend_from_slice(text.as_bytes());
    }
    bytes
}

/// The status of an answer that is not the last, as HPACK has it: the name is in its table.
fn informational() -> Vec<u8> {
    [&[0x08, 3][..], b"103", &header("link", &"x".repeat(1024))].concat()
}

/// An agent that writes what it likes.
struct Peer(DuplexStream);

impl Peer {
    /// Its link, and what the hub makes of it.
    fn connect(hub: &Arc<Hub>, id: BodyId) -> (Self, JoinHandle<()>) {
        let (near, far) = tokio::io::duplex(256 << 10);
        let hub = Arc::clone(hub);
        (Self(far), tokio::spawn(async move { hub.serve(id, Epoch(1), near).await }))
    }

    /// Writes a frame. Whether the hub still took it.
    async fn say(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> bool {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = length[1..].to_vec();
        frame.extend_from_slice(&[kind, flags]);
        frame.extend_from_slice(&stream.to_be_bytes());
        frame.extend_from_slice(payload);
        self.0.write_all(&frame).await.is_ok()
    }

    /// The stream of the next request. What HTTP/2 itself wants is answered on the way.
    async fn request(&mut self) -> u32 {
        loop {
            let mut head = [0; 9];
            self.0.read_exact(&mut head).await.unwrap();
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; length as usize];
            self.0.read_exact(&mut payload).await.unwrap();
            match (head[3], head[4] & ACK) {
                (HEADERS, _) => return u32::from_be_bytes([head[5], head[6], head[7], head[8]]),
                (SETTINGS, 0) => assert!(self.say(SETTINGS, ACK, 0, &[]).await),
                (PING, 0) => assert!(self.say(PING, ACK, 0, &payload).await),
                _ => {}
            }
        }
    }

    /// Begins as HTTP/2 does, up to the first request.
    async fn begin(&mut self) -> u32 {
        let mut preface = [0; 24];
        self.0.read_exact(&mut preface).await.unwrap();
        assert!(self.say(SETTINGS, 0, 0, &[]).await);
        self.request().await
    }

    /// Begins and says who it is, with these fields beside the usual; then says nothing of itself.
    /// Returns the stream of its news.
    async fn greet(&mut self, additional: serde_json::Value) -> u32 {
        let stream = self.begin().await;
        let mut info = serde_json::json!({
            "version": "1", "protocol": 1, "bootId": "b", "startedAt": "2026-01-01T00:00:00Z", "user": "dev",
        });
        info.as_object_mut().unwrap().extend(additional.as_object().unwrap().clone());
        assert!(self.say(HEADERS, END_HEADERS, stream, &[OK]).await);
        assert!(self.say(DATA, END_STREAM, stream, &serde_json::to_vec(&info).unwrap()).await);
        let news = self.request().await;
        assert!(self.say(HEADERS, END_HEADERS, news, &[OK]).await);
        news
    }

    /// Answers the next request in full.
    async fn answer(&mut self) {
        let stream = self.request().await;
        assert!(self.say(HEADERS, END_HEADERS, stream, &[OK]).await);
        assert!(self.say(DATA, END_STREAM, stream, b"small").await);
    }
}

/// A hub and an agent that has a link.
async fn linked() -> (Arc<Hub>, Peer, JoinHandle<()>, u32) {
    let hub = hub();
    let (mut peer, link) = Peer::connect(&hub, id());
    let news = peer.greet(serde_json::json!({})).await;
    assert!(hub.holds(id()));
    (hub, peer, link, news)
}

fn ask(hub: &Arc<Hub>, path: &'static str) -> JoinHandle<Result<Response<Body>, AgentError>> {
    let hub = Arc::clone(hub);
    tokio::spawn(async move { hub.request(id(), Request::get(path).body(Body::empty()).unwrap()).await })
}

/// The link still serves.
async fn serves(hub: &Arc<Hub>, peer: &mut Peer) {
    let asked = ask(hub, "/small");
    timeout(PATIENCE, peer.answer()).await.unwrap();
    let body = timeout(PATIENCE, asked).await.unwrap().unwrap().unwrap().into_body();
    assert_eq!(timeout(PATIENCE, body.collect()).await.unwrap().unwrap().to_bytes(), "small");
}

/// The link has ended, and nothing of it is left.
async fn ended(hub: &Hub, link: JoinHandle<()>) {
    timeout(PATIENCE, link).await.expect("the link goes on").unwrap();
    assert!(!hub.holds(id()));
}

/// More than an answer may carry, in frames of their own.
fn flood() -> Vec<Vec<u8>> {
    let value = "x".repeat(1024);
    (0..400).map(|number| header(&format!("x-flood-{number}"), &value)).collect()
}

#[tokio::test]
async fn an_answer_with_too_many_headers_fails_alone() {
    let (hub, mut peer, _link, _) = linked().await;
    let asked = ask(&hub, "/flood");
    let stream = peer.request().await;
    let headers = [vec![OK], flood()[..30].concat()].concat();
    assert!(peer.say(HEADERS, END_HEADERS, stream, &headers).await);
    let answer = timeout(PATIENCE, asked).await.unwrap().unwrap();
    assert!(matches!(answer, Err(AgentError::Broken(_))), "{:?}", answer.err());
    serves(&hub, &mut peer).await;
}

#[tokio::test]
async fn headers_that_go_on_and_on_end_the_link() {
    let (hub, mut peer, link, _) = linked().await;
    let asked = ask(&hub, "/flood");
    let stream = peer.request().await;
    peer.say(HEADERS, 0, stream, &[OK]).await;
    for part in flood() {
        if !peer.say(CONTINUATION, 0, stream, &part).await {
            break;
        }
    }
    ended(&hub, link).await;
    assert!(timeout(PATIENCE, asked).await.unwrap().unwrap().is_err());
}

#[tokio::test]
async fn continuations_with_nothing_in_them_end_the_link() {
    let (hub, mut peer, link, _) = linked().await;
    let _asked = ask(&hub, "/flood");
    let stream = peer.request().await;
    peer.say(HEADERS, 0, stream, &[OK]).await;
    for _ in 0..1_000 {
        if !peer.say(CONTINUATION, 0, stream, &[]).await {
            break;
        }
    }
    ended(&hub, link).await;
}

#[tokio::test(start_paused = true)]
async fn headers_that_never_end_end_the_link_in_time() {
    let (hub, mut peer, link, _) = linked().await;
    let began = Instant::now();
    let _asked = ask(&hub, "/never");
    let stream = peer.request().await;
    peer.say(HEADERS, 0, stream, &[OK]).await;
    // Nothing else may come in between, not even the answer to a ping.
    link.await.unwrap();
    assert!(!hub.holds(id()));
    let bound = transport::KEEP_ALIVE_INTERVAL + transport::KEEP_ALIVE_TIMEOUT + Duration::from_secs(1);
    assert!(began.elapsed() <= bound, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_only_promises_an_answer_gets_no_link() {
    let hub = hub();
    let (mut peer, link) = Peer::connect(&hub, id());
    let stream = peer.begin().await;
    let began = Instant::now();
    let promises = tokio::spawn(async move {
        while peer.say(HEADERS, END_HEADERS, stream, &informational()).await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    link.await.unwrap();
    promises.await.unwrap();
    assert!(!hub.holds(id()));
    assert!(began.elapsed() <= GREETING + Duration::from_secs(1), "{:?}", began.elapsed());
}

#[tokio::test]
async fn answers_that_are_taken_back_harm_nothing_else() {
    let (hub, mut peer, _link, _) = linked().await;
    for _ in 0..300 {
        let asked = ask(&hub, "/reset");
        let stream = peer.request().await;
        for _ in 0..10 {
            assert!(peer.say(RST_STREAM, 0, stream, &8_u32.to_be_bytes()).await);
        }
        let answer = timeout(PATIENCE, asked).await.unwrap().unwrap();
        assert!(matches!(answer, Err(AgentError::Broken(_))), "{:?}", answer.err());
    }
    serves(&hub, &mut peer).await;
}

/// What only the gateway may do, or what nobody may.
#[rstest]
#[case::a_request(HEADERS, 2, &[0x82, 0x86, 0x84])]
#[case::a_promise(PUSH_PROMISE, 3, &[0, 0, 0, 2, 0x82, 0x86, 0x84])]
#[case::taking_back_what_was_never_asked(RST_STREAM, 1001, &[0, 0, 0, 8])]
#[case::a_body_that_was_never_asked_for(DATA, 1001, b"x")]
#[case::room_without_end(WINDOW_UPDATE, 0, &[0x7f, 0xff, 0xff, 0xff])]
#[tokio::test]
async fn what_an_agent_may_not_do_ends_its_link(
    #[case] kind: u8,
    #[case] stream: u32,
    #[case] payload: &[u8],
) {
    let (hub, mut peer, link, _) = linked().await;
    peer.say(kind, END_HEADERS, stream, payload).await;
    ended(&hub, link).await;
}

#[tokio::test]
async fn a_body_in_crumbs_that_nobody_reads_ends_the_link() {
    let (hub, mut peer, link, _) = linked().await;
    let asked = ask(&hub, "/crumbs");
    let stream = peer.request().await;
    assert!(peer.say(HEADERS, END_HEADERS, stream, &[OK]).await);
    let _unread = timeout(PATIENCE, asked).await.unwrap().unwrap().unwrap();
    let mut crumbs = 0;
    while crumbs < transport::STREAM_WINDOW && peer.say(DATA, 0, stream, b"x").await {
        crumbs += 1;
    }
    ended(&hub, link).await;
    assert!(crumbs < transport::STREAM_WINDOW / 2, "{crumbs} crumbs were held");
}

#[tokio::test]
async fn an_agent_does_not_choose_whose_it_is() {
    let hub = hub();
    let (_, mut reports) = hub.subscribe();
    let (mut peer, _link) = Peer::connect(&hub, id());
    let claims = serde_json::json!({
        "id": other().to_string(), "namespace": "theirs", "workspace": "theirs", "gateway": "theirs",
    });
    let news = peer.greet(claims.clone()).await;
    assert!(hub.holds(id()) && !hub.holds(other()));

    let mut event = serde_json::json!({ "type": "processes", "processes": [] });
    event.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
    assert!(peer.say(DATA, 0, news, format!("{event}\n").as_bytes()).await);
    let linked = timeout(PATIENCE, reports.recv()).await.unwrap().unwrap();
    assert!(matches!(linked, Report::Linked(whose, link) if whose == id() && link.gateway == "test"));
    let told = timeout(PATIENCE, reports.recv()).await.unwrap().unwrap();
    assert_eq!(told, Report::Told(id(), Event::Processes(Default::default())));
}

#[tokio::test]
async fn an_agent_is_listened_to_no_faster_than_it_has_reason_to_speak() {
    let (hub, mut peer, _link, news) = linked().await;
    let (_, mut reports) = hub.subscribe();
    let began = Instant::now();
    let line = b"{\"type\":\"processes\",\"processes\":[]}\n".repeat(100);
    for _ in 0..10 {
        assert!(peer.say(DATA, 0, news, &line).await);
    }
    let late = 10;
    for _ in 0..news::AT_ONCE + late {
        let told = timeout(PATIENCE, reports.recv()).await.unwrap().unwrap();
        assert!(matches!(told, Report::Told(..)));
    }
    let least = Duration::from_secs(1) * (late - 1) / news::A_SECOND;
    assert!(began.elapsed() >= least, "{:?}", began.elapsed());
    serves(&hub, &mut peer).await;
}
