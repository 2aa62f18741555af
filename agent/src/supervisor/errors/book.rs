//! The errors of one process, each kind once.

use std::collections::HashMap;

use berth_link::wire::process::{DetectedError, DetectedErrors};
use jiff::Timestamp;

use super::{Found, fingerprint::fingerprint};

/// So many kinds are kept; those seen last.
const KINDS: usize = 100;

/// Counts errors.
#[derive(Debug, Default)]
pub struct Book {
    kinds: HashMap<String, Kind>,
    count: u64,
    newest: Option<String>,
}

#[derive(Debug)]
struct Kind {
    error: DetectedError,
    /// Number of its last occurrence: two may have the same time.
    last: u64,
}

impl Book {
    /// Takes one more.
    pub fn add(&mut self, found: Found, at: Timestamp) {
        self.count += 1;
        self.newest = Some(found.message.clone());
        let fingerprint = fingerprint(&found.message, found.level);
        if !self.kinds.contains_key(&fingerprint) && self.kinds.len() >= KINDS {
            let oldest = self.kinds.iter().min_by_key(|(_, kind)| kind.last).map(|(key, _)| key.clone());
            oldest.and_then(|oldest| self.kinds.remove(&oldest));
        }
        let kind = self.kinds.entry(fingerprint.clone()).or_insert_with(|| Kind {
            error: DetectedError {
                fingerprint,
                level: found.level,
                message: String::new(),
                count: 0,
                first_seen_at: at,
                last_seen_at: at,
            },
            last: 0,
        });
        kind.error.message = found.message;
        kind.error.count += 1;
        kind.error.last_seen_at = at;
        kind.last = self.count;
    }

    /// All kinds, the one seen last first.
    pub fn errors(&self) -> DetectedErrors {
        let mut kinds: Vec<_> = self.kinds.values().collect();
        kinds.sort_unstable_by_key(|kind| std::cmp::Reverse(kind.last));
        DetectedErrors { errors: kinds.into_iter().map(|kind| kind.error.clone()).collect() }
    }

    /// How many there were, and what the newest says.
    pub fn summary(&self) -> (u64, Option<String>) {
        (self.count, self.newest.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(message: impl ToString) -> Found {
        Found { level: 50, message: message.to_string(), fatal: false }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_same_error_is_counted_and_the_newest_is_first() {
        let mut book = Book::default();
        book.add(found("on :3000"), at(1));
        book.add(found("other"), at(2));
        book.add(found("on :4000"), at(3));
        let errors = book.errors().errors;
        assert_eq!(errors.len(), 2);
        assert_eq!((errors[0].count, errors[0].message.as_str()), (2, "on :4000"));
        assert_eq!((errors[0].first_seen_at, errors[0].last_seen_at), (at(1), at(3)));
        assert_eq!(book.summary(), (3, Some("on :4000".to_owned())));
    }

    #[test]
    fn so_many_kinds_are_kept_and_all_are_counted() {
        let mut book = Book::default();
        for number in 0..250 {
            book.add(found(number), at(0));
        }
        let errors = book.errors().errors;
        assert_eq!(errors.len(), KINDS);
        assert_eq!((errors[0].message.as_str(), errors[99].message.as_str()), ("249", "150"));
        assert_eq!(book.summary().0, 250);
    }
}
