//! When somebody or something last worked in the workspace, and telling the gateway of it.
//!
//! Link and supervisor each keep such a log of what goes through them.

use std::time::Duration;

use berth_link::wire::{Event, system::Activity};
use bytes::Bytes;
use futures::{Stream, stream};
use jiff::Timestamp;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

/// Least time between two events about work.
const BETWEEN_EVENTS: Duration = Duration::from_secs(30);

/// A kind of work.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Work {
    /// A command or a terminal had input or output.
    Terminal,
    /// Bytes went through a connection to a port.
    Traffic,
    /// A git operation.
    Git,
    /// A file was read or written.
    Files,
    /// The processor was used.
    Cpu,
}

/// The last moment of each kind of work.
#[derive(Debug, Default)]
pub struct ActivityLog(watch::Sender<Activity>);

impl ActivityLog {
    /// Notes that there was work just now.
    pub fn touch(&self, work: Work) {
        // To the millisecond, so that many bytes in one are noted once.
        let now = Timestamp::from_millisecond(Timestamp::now().as_millisecond()).ok();
        self.0.send_if_modified(|activity| {
            let moment = match work {
                Work::Terminal => &mut activity.terminal_at,
                Work::Traffic => &mut activity.traffic_at,
                Work::Git => &mut activity.git_at,
                Work::Files => &mut activity.files_at,
                Work::Cpu => &mut activity.cpu_at,
            };
            let newer = now > *moment;
            if newer {
                *moment = now;
            }
            newer
        });
    }

    /// All of it.
    pub fn shown(&self) -> Activity {
        self.0.borrow().clone()
    }

    /// Lines with [`Event::Activity`]: one at once where there was work, and then at most every
    /// 30 s, where there was more.
    pub fn told(&self) -> impl Stream<Item = Bytes> + Send + 'static {
        let mut changes = self.0.subscribe();
        if *changes.borrow() != Activity::default() {
            changes.mark_changed();
        }
        stream::unfold((changes, Instant::now()), |(mut changes, next)| async move {
            changes.changed().await.ok()?;
            sleep_until(next).await;
            let activity = changes.borrow_and_update().clone();
            let mut line = serde_json::to_vec(&Event::Activity(activity)).ok()?;
            line.push(b'\n');
            Some((line.into(), (changes, Instant::now() + BETWEEN_EVENTS)))
        })
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, StreamExt};

    use super::*;

    fn activity(line: &Bytes) -> Activity {
        match serde_json::from_slice(line).unwrap() {
            Event::Activity(activity) => activity,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn work_is_told_at_once_and_then_now_and_again() {
        let log = ActivityLog::default();
        let mut told = Box::pin(log.told());
        assert!(told.next().now_or_never().is_none(), "nothing was done");
        log.touch(Work::Git);
        let began = Instant::now();
        assert!(activity(&told.next().await.unwrap()).git_at.is_some());
        assert!(began.elapsed() < BETWEEN_EVENTS);
        log.touch(Work::Terminal);
        log.touch(Work::Files);
        let both = activity(&told.next().await.unwrap());
        assert!(both.terminal_at.is_some() && both.files_at.is_some());
        assert!(began.elapsed() >= BETWEEN_EVENTS);
        assert!(told.next().now_or_never().is_none(), "nothing more was done");
    }

    #[tokio::test]
    async fn who_asks_later_is_told_what_was_before() {
        let log = ActivityLog::default();
        log.touch(Work::Cpu);
        let mut told = Box::pin(log.told());
        assert_eq!(activity(&told.next().await.unwrap()), log.shown());
    }
}
