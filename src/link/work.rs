//! Work in a workspace, as this replica knows of it: from the agent, and from requests to previews.

use berth_link::wire::system::Activity;
use jiff::{SignedDuration, Timestamp};

/// Newer work than what was told by this much is worth telling.
const WORTH_TELLING: SignedDuration = SignedDuration::from_mins(1);

/// What is known, and how much of it the leader was told.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Work {
    /// The last moment of each kind of work.
    pub activity: Activity,
    told: Option<Timestamp>,
}

impl Work {
    /// Takes in more. Returns whether the leader is to be told now: at most once a minute, and
    /// never where nothing is new.
    pub fn take(&mut self, more: &Activity) -> bool {
        self.activity = self.activity.merged(more);
        let last = self.activity.last();
        let is_news = match (self.told, last) {
            (Some(told), Some(last)) => last.duration_since(told) >= WORTH_TELLING,
            (told, last) => told.is_none() && last.is_some(),
        };
        if is_news {
            self.told = last;
        }
        is_news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn terminal(second: i64) -> Activity {
        Activity { terminal_at: Some(at(second)), ..Activity::default() }
    }

    #[test]
    fn work_is_told_once_a_minute() {
        let mut work = Work::default();
        let told: Vec<_> = (0..600).filter(|second| work.take(&terminal(*second))).collect();
        assert_eq!(told, [0, 60, 120, 180, 240, 300, 360, 420, 480, 540]);
    }

    #[test]
    fn what_is_not_new_is_not_told() {
        let mut work = Work::default();
        assert!(!work.take(&Activity::default()));
        assert!(work.take(&terminal(0)));
        assert!(!work.take(&terminal(0)));
    }

    #[test]
    fn kinds_of_work_are_kept_apart() {
        let mut work = Work::default();
        work.take(&terminal(10));
        work.take(&Activity { git_at: Some(at(5)), ..Activity::default() });
        assert_eq!((work.activity.terminal_at, work.activity.git_at), (Some(at(10)), Some(at(5))));
    }
}
