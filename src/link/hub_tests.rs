//! The hub against agents over connections in memory: good ones, slow ones and hostile ones.

use std::{convert::Infallible, time::Duration};

use axum::response::IntoResponse;
use futures::StreamExt;
use hyper::service::service_fn;
use tokio::time::timeout;

use super::*;

const PATIENCE: Duration = Duration::from_secs(30);

fn hub() -> Arc<Hub> {
    Hub::new("test", LinkMetrics::register(&prometheus::Registry::new()).unwrap())
}

fn id() -> BodyId {
    "0011223344556677".parse().unwrap()
}

fn info() -> Vec<u8> {
    let info = serde_json::json!({
        "version": "1", "protocol": 1, "bootId": "b", "startedAt": "2026-01-01T00:00:00Z", "user": "dev",
    });
    serde_json::to_vec(&info).unwrap()
}

/// An agent that answers what it is asked with these functions, and its link.
fn agent(
    hub: &Arc<Hub>,
    epoch: u32,
    answer: impl Fn(&str) -> Response<Body> + Clone + Send + Sync + 'static,
) -> tokio::task::JoinHandle<()> {
    let (near, far) = tokio::io::duplex(256 << 10);
    let service = service_fn(move |request: Request<Incoming>| {
        let response = answer(request.uri().path());
        async move { Ok::<_, Infallible>(response) }
    });
    tokio::spawn(transport::server().serve_connection(TokioIo::new(far), service));
    let hub = Arc::clone(hub);
    tokio::spawn(async move { hub.serve(id(), Epoch(epoch), near).await })
}

/// Bytes without end.
fn endless() -> Body {
    let part = Bytes::from(vec![b'x'; 64 << 10]);
    Body::from_stream(futures::stream::repeat(part).map(Ok::<_, Infallible>))
}

/// Answers as a good agent does.
fn good(path: &str) -> Response<Body> {
    match path {
        "/v1/info" => Response::new(Body::from(info())),
        "/v1/events" => {
            Response::new(Body::from_stream(futures::stream::pending::<Result<Bytes, Infallible>>()))
        }
        "/endless" => Response::new(endless()),
        "/small" => Response::new(Body::from("small")),
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn linked(hub: &Hub) {
    timeout(PATIENCE, async {
        while !hub.holds(id()) {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the agent has no link");
}

fn ask(path: &str) -> Request<Body> {
    Request::get(path).body(Body::empty()).unwrap()
}

#[tokio::test]
async fn streams_that_nobody_reads_keep_no_other_waiting() {
    let hub = hub();
    let _link = agent(&hub, 1, good);
    linked(&hub).await;
    let mut stalled = Vec::new();
    for _ in 0..100 {
        let answer = hub.request(id(), ask("/endless")).await.unwrap();
        let mut body = answer.into_body().into_data_stream();
        // Each has begun, and is then left alone until its window is full.
        timeout(PATIENCE, body.next()).await.unwrap().unwrap().unwrap();
        stalled.push(body);
    }
    for _ in 0..20 {
        let answer = timeout(PATIENCE, hub.request(id(), ask("/small"))).await.unwrap().unwrap();
        let body = timeout(PATIENCE, answer.into_body().collect()).await.unwrap().unwrap();
        assert_eq!(body.to_bytes(), "small");
    }
}

#[tokio::test]
async fn more_requests_than_an_agent_takes_are_refused_at_once() {
    let hub = hub();
    let _link = agent(&hub, 1, good);
    linked(&hub).await;
    let mut held = Vec::new();
    let refused = loop {
        match hub.request(id(), ask("/endless")).await {
            Ok(answer) => held.push(answer),
            Err(error) => break error,
        }
        assert!(held.len() <= transport::MAX_STREAMS as usize);
    };
    assert!(matches!(refused, AgentError::Busy), "{refused}");
    held.pop();
    assert!(hub.request(id(), ask("/small")).await.is_ok(), "one that ended makes room");
}

#[tokio::test]
async fn an_older_token_does_not_take_the_place_of_a_newer_and_a_newer_link_does() {
    let hub = hub();
    let first = agent(&hub, 2, good);
    linked(&hub).await;
    timeout(PATIENCE, agent(&hub, 1, good)).await.expect("the older one is sent away").unwrap();
    assert!(hub.holds(id()) && !first.is_finished());
    let _second = agent(&hub, 2, good);
    timeout(PATIENCE, first).await.expect("the first one is ended").unwrap();
    linked(&hub).await;
}

#[tokio::test]
async fn a_link_that_is_closed_is_told_of_and_gone() {
    let hub = hub();
    let (_, mut reports) = hub.subscribe();
    let link = agent(&hub, 1, good);
    linked(&hub).await;
    hub.close(id());
    timeout(PATIENCE, link).await.unwrap().unwrap();
    assert!(!hub.holds(id()));
    assert!(matches!(reports.recv().await, Ok(Report::Linked(..))));
    assert_eq!(reports.recv().await, Ok(Report::Lost(id())));
    assert!(matches!(hub.request(id(), ask("/small")).await, Err(AgentError::NotConnected)));
}

#[tokio::test]
async fn an_agent_that_talks_without_end_of_itself_gets_no_link() {
    let hub = hub();
    let endless_info = |path: &str| match path {
        "/v1/info" => Response::new(endless()),
        _ => good(path),
    };
    timeout(PATIENCE, agent(&hub, 1, endless_info)).await.expect("it is sent away").unwrap();
    assert!(!hub.holds(id()));
}

#[tokio::test]
async fn an_agent_whose_news_has_no_end_loses_its_link() {
    let hub = hub();
    let endless_news = |path: &str| match path {
        "/v1/events" => Response::new(endless()),
        _ => good(path),
    };
    timeout(PATIENCE, agent(&hub, 1, endless_news)).await.expect("it is sent away").unwrap();
    assert!(!hub.holds(id()));
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_does_not_answer_gets_no_link() {
    let hub = hub();
    let (near, _far) = tokio::io::duplex(64 << 10);
    let began = tokio::time::Instant::now();
    hub.serve(id(), Epoch(1), near).await;
    assert!(began.elapsed() <= GREETING + Duration::from_secs(1), "{:?}", began.elapsed());
    assert!(!hub.holds(id()));
}

#[tokio::test]
async fn links_are_counted() {
    let registry = prometheus::Registry::new();
    let hub = Hub::new("test", LinkMetrics::register(&registry).unwrap());
    let metrics = || prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
    let has = |line: &str| assert!(metrics().lines().any(|one| one == line), "{line}\n{}", metrics());
    let link = agent(&hub, 2, good);
    linked(&hub).await;
    has("berth_agents_linked 1");
    timeout(PATIENCE, agent(&hub, 1, good)).await.unwrap().unwrap();
    has("berth_agent_refusals_total{reason=\"Older\"} 1");
    hub.close(id());
    timeout(PATIENCE, link).await.unwrap().unwrap();
    has("berth_agents_linked 0");
    has("berth_agent_connects_total 1");
    has("berth_agent_disconnects_total{reason=\"Closed\"} 1");
}
