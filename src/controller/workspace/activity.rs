//! When a workspace counts as used, and how often that is written down. Pure.

use jiff::{Timestamp, TimestampRound, Unit};

/// Least time between two writes for a workspace in which somebody works, in seconds.
const STEP: i64 = 300;

/// What `status.lastActivityAt` is to be, given what it was and what was last told of work; whole
/// minutes. It moves on by five minutes or more, or not at all: a busy workspace is written every
/// five minutes, an idle one never. What is told comes from the tenant's end: work in the future
/// is work now.
pub fn last_activity(
    before: Option<Timestamp>,
    told: Option<Timestamp>,
    now: Timestamp,
) -> Option<Timestamp> {
    let whole_minute = TimestampRound::new().smallest(Unit::Minute).mode(jiff::RoundMode::Trunc);
    let Some(told) = told.and_then(|told| told.min(now).round(whole_minute).ok()) else { return before };
    match before {
        Some(before) if told.as_second() < before.as_second().saturating_add(STEP) => Some(before),
        _ => Some(told),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const NOW: &str = "2026-05-04T10:30:30Z";

    #[rstest]
    #[case::nothing_known(None, None, None)]
    #[case::the_first_work(None, Some("10:12:59"), Some("10:12:00"))]
    #[case::idle(Some("10:12:00"), None, Some("10:12:00"))]
    #[case::the_same_work(Some("10:12:00"), Some("10:12:59"), Some("10:12:00"))]
    #[case::busy(Some("10:12:00"), Some("10:16:59"), Some("10:12:00"))]
    #[case::still_busy(Some("10:12:00"), Some("10:17:00"), Some("10:17:00"))]
    #[case::back_after_hours(Some("07:00:00"), Some("10:30:29"), Some("10:30:00"))]
    #[case::never_back(Some("10:12:00"), Some("09:00:00"), Some("10:12:00"))]
    #[case::never_in_the_future(Some("10:12:00"), Some("23:00:00"), Some("10:30:00"))]
    fn it_moves_in_steps(
        #[case] before: Option<&str>,
        #[case] told: Option<&str>,
        #[case] expected: Option<&str>,
    ) {
        let at = |time: Option<&str>| time.map(|time| format!("2026-05-04T{time}Z").parse().unwrap());
        assert_eq!(last_activity(at(before), at(told), NOW.parse().unwrap()), at(expected));
    }

    #[test]
    fn a_day_of_work_is_written_every_five_minutes() {
        let begin: Timestamp = NOW.parse().unwrap();
        let (mut written, mut writes) = (None, 0);
        for second in 0..24 * 3600 {
            let now = begin + jiff::SignedDuration::from_secs(second);
            let next = last_activity(written, Some(now), now);
            writes += u32::from(next != written);
            written = next;
        }
        assert!(writes <= 24 * 12 + 1, "{writes}");
    }
}
