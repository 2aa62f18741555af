//! Which endpoint of a cluster is asked.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use url::Url;

use super::connection::{self, InvalidConnection};

/// How long an endpoint that could not be connected is asked last.
const REST: Duration = Duration::from_secs(30);

/// The endpoints of a cluster.
pub(super) struct Endpoints {
    list: Vec<Endpoint>,
    /// Until when each is left alone.
    resting: Mutex<Vec<Option<Instant>>>,
}

/// One endpoint.
pub(super) struct Endpoint {
    pub(super) index: usize,
    /// The address below which all calls are.
    pub(super) base: Url,
    /// Its name in errors.
    pub(super) name: String,
}

impl Endpoints {
    pub(super) fn new(urls: &[Url]) -> Result<Self, InvalidConnection> {
        let list = urls
            .iter()
            .enumerate()
            .map(|(index, url)| {
                Ok(Endpoint { index, base: connection::base(url)?, name: connection::shown(url) })
            })
            .collect::<Result<Vec<_>, InvalidConnection>>()?;
        if list.is_empty() {
            return Err(InvalidConnection::NoEndpoint);
        }
        let resting = Mutex::new(vec![None; list.len()]);
        Ok(Self { list, resting })
    }

    /// All endpoints, the one to ask first in front.
    pub(super) fn in_order(&self, failed: Option<usize>) -> impl Iterator<Item = &Endpoint> {
        let order = {
            let resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
            order(&resting, Instant::now(), failed)
        };
        order.into_iter().filter_map(|index| self.list.get(index))
    }

    /// Notes whether an endpoint could be connected.
    pub(super) fn note(&self, endpoint: &Endpoint, connected: bool) {
        let mut resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(until) = resting.get_mut(endpoint.index) {
            *until = (!connected).then(|| Instant::now() + REST);
        }
    }
}

/// In the order of the configuration, but the one that just failed behind the others, and those
/// at rest last, the one that rests the longest first.
fn order(resting: &[Option<Instant>], now: Instant, failed: Option<usize>) -> Vec<usize> {
    let mut order = (0..resting.len()).collect::<Vec<_>>();
    order.sort_by_key(|&index| {
        let until = resting.get(index).copied().flatten().filter(|&until| until > now);
        (until, Some(index) == failed, index)
    });
    order
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::none_failed(&[None, None, None], None, &[0, 1, 2])]
    #[case::the_first_just_failed(&[None, None, None], Some(0), &[1, 2, 0])]
    #[case::the_first_rests(&[Some(10), None, None], None, &[1, 2, 0])]
    #[case::the_first_has_rested(&[Some(-1), None, None], None, &[0, 1, 2])]
    #[case::one_failed_one_rests(&[Some(10), None, None], Some(1), &[2, 1, 0])]
    #[case::all_rest(&[Some(10), Some(5), Some(20)], None, &[1, 0, 2])]
    #[case::alone(&[Some(10)], Some(0), &[0])]
    fn the_order_of_endpoints(
        #[case] resting: &[Option<i64>],
        #[case] failed: Option<usize>,
        #[case] expected: &[usize],
    ) {
        let now = Instant::now() + Duration::from_secs(100);
        let resting = resting
            .iter()
            .map(|seconds| {
                seconds
                    .map(|seconds| now - Duration::from_secs(50) + Duration::from_secs((50 + seconds) as u64))
            })
            .collect::<Vec<_>>();
        assert_eq!(order(&resting, now, failed), expected);
    }
}
