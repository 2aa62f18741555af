//! What the link does itself and what the container's processes do, as work.

use std::{
    path::Path,
    sync::{Arc, Weak},
    time::Duration,
};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use tokio::time::Instant;

use super::{Services, system::cgroup};
use crate::activity::Work;

/// Time between two looks at the processor.
const LOOK: Duration = Duration::from_secs(30);
/// Work is what uses more than one part in so many of a processor.
const SHARE: u128 = 20;

/// Notes what a request is work on. Questions about the container are none.
pub async fn note(State(services): State<Arc<Services>>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let log = &services.activity;
    if path.starts_with("/v1/exec") {
        log.touch(Work::Terminal);
    } else if path.starts_with("/v1/files") {
        log.touch(Work::Files);
    } else if path.starts_with("/v1/git/") {
        log.touch(Work::Git);
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
            services.activity.touch(Work::Cpu);
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
