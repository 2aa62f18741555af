//! What an agent tells by itself: read line by line, no faster and no larger than a workspace has
//! reason to.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use axum::body::Body;
use berth_link::wire::Event;
use futures::{Stream, StreamExt};
use governor::{
    DefaultDirectRateLimiter, Quota, RateLimiter,
    clock::{Clock, DefaultClock},
};
use http::{Request, StatusCode};
use hyper::client::conn::http2::SendRequest;
use jiff::Timestamp;
use tokio::io::{AsyncBufReadExt, AsyncReadExt};

/// Most bytes of one thing that an agent tells.
pub const EVENT_BYTES: usize = 1 << 20;
/// So many things it may tell at once.
pub const AT_ONCE: u32 = 200;
/// So many in a second in the long run. One that tells more is read more slowly.
pub const A_SECOND: u32 = 20;
/// Something of so many bytes counts as one, larger things as several.
const COUNTED_BYTES: usize = 16 << 10;

/// Asks an agent for its news, and reads them until the connection ends or one of them is none.
pub async fn of(
    mut sender: SendRequest<Body>,
    pace: Arc<Pace>,
) -> anyhow::Result<impl Stream<Item = anyhow::Result<Event>> + Unpin> {
    sender.ready().await?;
    let answer = sender.send_request(Request::get("http://agent/v1/events").body(Body::empty())?).await?;
    anyhow::ensure!(answer.status() == StatusCode::OK, "it answered {}", answer.status());
    let bytes =
        Body::new(answer.into_body()).into_data_stream().map(|part| part.map_err(std::io::Error::other));
    let reader = tokio_util::io::StreamReader::new(Box::pin(bytes));
    let events = futures::stream::try_unfold((reader, pace), |(mut reader, pace)| async move {
        let mut line = Vec::new();
        let mut limited = (&mut reader).take(u64::try_from(EVENT_BYTES)?);
        if limited.read_until(b'\n', &mut line).await? == 0 {
            return Ok(None);
        }
        anyhow::ensure!(line.ends_with(b"\n"), "a line of more than {EVENT_BYTES} bytes, or half a line");
        pace.keep(line.len()).await;
        Ok(Some((plausible(serde_json::from_slice(&line)?, Timestamp::now()), (reader, pace))))
    });
    Ok(Box::pin(events))
}

/// Nobody has worked in the future: a clock that is ahead would keep a workspace awake for ever.
fn plausible(event: Event, now: Timestamp) -> Event {
    match event {
        Event::Activity(activity) => Event::Activity(activity.no_later_than(now)),
        other @ Event::Processes(_) => other,
    }
}

/// How fast one agent is listened to. While it is not, flow control keeps it from sending.
pub struct Pace(DefaultDirectRateLimiter);

impl Pace {
    /// Nothing told yet.
    pub fn new() -> Self {
        let quota = Quota::per_second(NonZeroU32::new(A_SECOND).unwrap_or(NonZeroU32::MIN));
        let quota = quota.allow_burst(NonZeroU32::new(AT_ONCE).unwrap_or(NonZeroU32::MIN));
        Self(RateLimiter::direct(quota))
    }

    /// Waits until something of so many bytes may be told.
    async fn keep(&self, bytes: usize) {
        let clock = DefaultClock::default();
        let count = cost(bytes);
        loop {
            match self.0.check_n(count) {
                Ok(Err(early)) => {
                    let wait = early.wait_time_from(clock.now());
                    tokio::time::sleep(wait.max(Duration::from_millis(1))).await;
                }
                // More than may be told at once does not occur: lines are shorter.
                Ok(Ok(())) | Err(_) => return,
            }
        }
    }
}

fn cost(bytes: usize) -> NonZeroU32 {
    let counted = u32::try_from(bytes.div_ceil(COUNTED_BYTES)).unwrap_or(AT_ONCE);
    NonZeroU32::new(counted.min(AT_ONCE)).unwrap_or(NonZeroU32::MIN)
}

#[cfg(test)]
mod tests {
    use berth_link::wire::{process::Processes, system::Activity};
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::nothing(0, 1)]
    #[case::small(200, 1)]
    #[case::just_one(COUNTED_BYTES, 1)]
    #[case::two(COUNTED_BYTES + 1, 2)]
    #[case::largest(EVENT_BYTES, 64)]
    fn larger_news_count_as_several(#[case] bytes: usize, #[case] expected: u32) {
        assert_eq!(cost(bytes).get(), expected);
    }

    #[test]
    fn work_in_the_future_counts_as_work_now() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let before: Timestamp = "2025-12-31T00:00:00Z".parse().unwrap();
        let ahead: Timestamp = "9999-01-01T00:00:00Z".parse().unwrap();
        let told = Activity { terminal_at: Some(before), cpu_at: Some(ahead), ..Activity::default() };
        let expected = Activity { terminal_at: Some(before), cpu_at: Some(now), ..Activity::default() };
        assert_eq!(plausible(Event::Activity(told), now), Event::Activity(expected));
        let processes = Event::Processes(Processes::default());
        assert_eq!(plausible(processes.clone(), now), processes);
    }
}
