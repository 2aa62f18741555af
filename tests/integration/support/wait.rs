//! Waiting for a condition, with a deadline.

use std::{
    fmt::Debug,
    future::Future,
    time::{Duration, Instant},
};

/// Time between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// Looks until the condition holds; panics with what was seen last when the time is over.
pub async fn eventually<T, D, F, Fut>(limit: Duration, what: &str, look: F) -> T
where
    D: Debug,
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, D>>,
{
    eventually_every(PAUSE, limit, what, look).await
}

/// The same with another time between two looks, for looks that cost something.
pub async fn eventually_every<T, D, F, Fut>(pause: Duration, limit: Duration, what: &str, mut look: F) -> T
where
    D: Debug,
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, D>>,
{
    let started = Instant::now();
    loop {
        match look().await {
            Ok(value) => return value,
            Err(seen) if started.elapsed() > limit => {
                panic!("{what}: not within {limit:?}; last seen: {seen:#?}")
            }
            Err(_) => tokio::time::sleep(pause).await,
        }
    }
}
