//! What the agent tells by itself, put together from both its parts.

use std::{io, sync::Arc};

use axum::{Json, body::Body, extract::State, response::Response};
use berth_link::wire::system::Activity;
use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use http::Request;
use http_body_util::{BodyExt, Limited};
use tokio::io::{AsyncBufReadExt, AsyncReadExt};
use tokio_util::io::StreamReader;

use super::passing::{Supervisor, pass};
use crate::activity::ActivityLog;

/// Most bytes of a line of the supervisor's, as the gateway has it.
const LINE: u64 = 1 << 20;
/// Most bytes of the supervisor's answer about its work.
const ANSWER: usize = 16 << 10;

/// What the link tells of.
#[derive(Clone)]
pub struct Telling {
    /// The way to the supervisor.
    pub supervisor: Arc<Supervisor>,
    /// Work that goes through the link.
    pub activity: Arc<ActivityLog>,
}

/// Answers `GET /v1/events`: what the supervisor tells, and between its lines what is told of work
/// here. It ends with the supervisor's.
pub async fn events(State(telling): State<Telling>, request: Request<Body>) -> Response {
    let answer = pass(State(Arc::clone(&telling.supervisor)), request).await;
    if !answer.status().is_success() {
        return answer;
    }
    answer.map(|body| Body::from_stream(together(lines(body), telling.activity.told())))
}

/// Answers `GET /v1/activity`.
pub async fn activity(State(telling): State<Telling>) -> Json<Activity> {
    let own = telling.activity.shown();
    let theirs = asked(&telling.supervisor).await;
    Json(theirs.map_or_else(|| own.clone(), |theirs| own.merged(&theirs)))
}

async fn asked(supervisor: &Supervisor) -> Option<Activity> {
    let request = Request::get("/v1/activity").body(Body::empty()).ok()?;
    let answer = supervisor.send(request).await.ok()?;
    let body = Limited::new(answer.into_body(), ANSWER).collect().await.ok()?.to_bytes();
    serde_json::from_slice(&body).ok()
}

/// Two streams of lines as one, which ends when the first does.
fn together(
    first: impl Stream<Item = io::Result<Bytes>> + Send,
    second: impl Stream<Item = Bytes> + Send,
) -> impl Stream<Item = io::Result<Bytes>> + Send {
    let first = first.map(Some).chain(stream::once(async { None }));
    stream::select(first, second.map(Ok).map(Some))
        .take_while(|line| std::future::ready(line.is_some()))
        .filter_map(std::future::ready)
}

/// The whole lines of a body: half a line must not be parted by another.
fn lines(body: Body) -> impl Stream<Item = io::Result<Bytes>> + Send {
    let reader =
        StreamReader::new(Box::pin(TryStreamExt::map_err(body.into_data_stream(), io::Error::other)));
    stream::try_unfold(reader, |mut reader| async move {
        let mut line = Vec::new();
        (&mut reader).take(LINE).read_until(b'\n', &mut line).await?;
        match line.last() {
            None => Ok(None),
            Some(b'\n') => Ok(Some((line.into(), reader))),
            Some(_) => Err(io::Error::from(io::ErrorKind::InvalidData)),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(parts: &[&'static str]) -> Body {
        let parts: Vec<_> = parts.iter().map(|part| Ok::<_, io::Error>(Bytes::from(*part))).collect();
        Body::from_stream(stream::iter(parts))
    }

    #[tokio::test]
    async fn lines_stay_whole_however_they_come() {
        let seen: Vec<_> =
            lines(parts(&["on", "e\ntw", "o\n", "three\nfour\n"])).try_collect().await.unwrap();
        assert_eq!(seen, ["one\n", "two\n", "three\n", "four\n"]);
    }

    #[tokio::test]
    async fn half_a_line_at_the_end_is_an_error() {
        let seen: Vec<_> = lines(parts(&["one\n", "tw"])).collect().await;
        assert!(seen.first().is_some_and(Result::is_ok) && seen.last().is_some_and(Result::is_err));
    }

    #[tokio::test]
    async fn what_is_told_ends_with_the_supervisor() {
        let without_end = stream::iter([Bytes::from("work\n")]).chain(stream::pending());
        let seen: Vec<_> = together(lines(parts(&["one\n"])), without_end).try_collect().await.unwrap();
        assert!(seen.contains(&Bytes::from("one\n")), "{seen:?}");
    }
}
