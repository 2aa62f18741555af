//! When somebody or something last worked in the workspace.

use std::{
    path::Path,
    sync::{
        Arc, Weak,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use axum::{
    Json,
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use berth_link::wire::system::Activity;
use jiff::Timestamp;
use tokio::time::Instant;

use super::{Services, system::cgroup};

/// Time between two looks at the processor.
const LOOK: Duration = Duration::from_secs(30);
/// Work is what uses more than one part in so many of a processor.
const SHARE: u128 = 20;

/// A moment that is moved on; at first there is none.
#[derive(Debug, Default)]
pub struct Moment(AtomicI64);

impl Moment {
    /// It is now.
    pub fn touch(&self) {
        self.0.fetch_max(Timestamp::now().as_millisecond(), Ordering::Relaxed);
    }

    fn get(&self) -> Option<Timestamp> {
        let millis = self.0.load(Ordering::Relaxed);
        (millis > 0).then(|| Timestamp::from_millisecond(millis).ok()).flatten()
    }
}

/// The last moment of each kind of work.
#[derive(Debug, Default)]
pub struct ActivityLog {
    /// A command had input or output.
    pub terminal: Moment,
    /// A git operation.
    pub git: Moment,
    /// A file was read or written.
    pub files: Moment,
    /// The processor was used.
    pub cpu: Moment,
}

/// Answers `GET /v1/activity`.
pub async fn show(State(services): State<Arc<Services>>) -> Json<Activity> {
    let log = &services.activity;
    Json(Activity {
        terminal_at: log.terminal.get(),
        traffic_at: None,
        git_at: log.git.get(),
        files_at: log.files.get(),
        cpu_at: log.cpu.get(),
    })
}

/// Notes what a request is work on. Questions about the container are none.
pub async fn note(State(services): State<Arc<Services>>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let log = &services.activity;
    if path.starts_with("/v1/exec") {
        log.terminal.touch();
    } else if path.starts_with("/v1/files") {
        log.files.touch();
    } else if path.starts_with("/v1/git/") {
        log.git.touch();
    }
    next.run(request).await
}

/// Looks at the processor for as long as there are services.
pub async fn watch(services: Weak<Services>) {
    let cgroup = Path::new("/sys/fs/cgroup");
    let (mut before, mut began) = (processor_micros(cgroup), Instant::now());
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(services) = services.upgrade() else { return };
        let used = processor_micros(cgroup);
        if is_work(used.saturating_sub(before), began.elapsed()) {
            services.activity.cpu.touch();
        }
        (before, began) = (used, Instant::now());
    }
}

/// What the container's processes have used of the processor; 0 where that can not be told.
fn processor_micros(group: &Path) -> u64 {
    cgroup::processor_time(group).unwrap_or_default()
}

fn is_work(micros: u64, elapsed: Duration) -> bool {
    u128::from(micros) * SHARE > elapsed.as_micros()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(1_500_000, false)]
    #[case(1_500_001, true)]
    fn more_than_a_twentieth_is_work(#[case] micros: u64, #[case] expected: bool) {
        assert_eq!(is_work(micros, Duration::from_secs(30)), expected);
    }
}
