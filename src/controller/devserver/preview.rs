//! A preview: its host name, its end, and whether it can be opened. Pure but for the dice.

use std::time::Duration;

use jiff::Timestamp;

use crate::{api::condition, controller::workspace::problem::Problem};

use super::situation::{Published, Situation};

/// The longest part of a host name that comes from a name.
const PART: usize = 20;
/// For a name of which nothing is left.
const NAMELESS: &str = "app";

/// The first part of a new preview's host name: nobody can guess it.
pub fn mint(devserver: &str, workspace: &str) -> String {
    host(devserver, workspace, rand::random())
}

/// `DEVSERVER-WORKSPACE-` and 16 hexadecimal digits: a DNS label of at most 58 characters.
fn host(devserver: &str, workspace: &str, secret: [u8; 8]) -> String {
    format!("{}-{}-{}", part(devserver), part(workspace), hex::encode(secret))
}

/// What of a name can stand in a host name.
fn part(name: &str) -> String {
    let safe: String = name
        .to_lowercase()
        .chars()
        .map(|each| if each.is_ascii_lowercase() || each.is_ascii_digit() { each } else { '-' })
        .take(PART)
        .collect();
    let trimmed = safe.trim_matches('-');
    if trimmed.is_empty() { NAMELESS.to_owned() } else { trimmed.to_owned() }
}

/// How a preview stands.
#[derive(Clone, Debug, PartialEq)]
pub enum PreviewState {
    /// None is wanted.
    Unwanted,
    /// This keeps it from being published. `counts`: the DevServer is not as wanted without it.
    Blocked {
        /// What.
        problem: Problem,
        /// Whether it matters.
        counts: bool,
    },
    /// Its lifetime is over.
    Expired {
        /// Since when.
        at: Timestamp,
    },
    /// It has, or is to have, its address; what is behind it is another question.
    Published {
        /// When its lifetime is over.
        expires: Option<Timestamp>,
    },
}

impl PreviewState {
    /// How the preview of this DevServer stands.
    pub fn of(situation: &Situation<'_>) -> Self {
        let Ok(desired) = situation.desired else { return Self::Unwanted };
        let Some(preview) = &desired.preview else { return Self::Unwanted };
        if situation.config.domain.is_none() {
            let message = "the operator's configuration has no preview.domain";
            let problem = Problem::permanent(condition::PREVIEW_READY, "PreviewsDisabled", message);
            return Self::Blocked { problem, counts: preview.explicit };
        }
        if let Some(problem) = &situation.place.unpublished {
            return Self::Blocked { problem: problem.clone(), counts: true };
        }
        let lifetime = preview.lifetime.or(situation.config.default_lifetime.map(|default| default.0));
        let expires = expiry(situation.published, lifetime);
        if let Some(at) = expires.filter(|at| *at <= situation.now) {
            return Self::Expired { at };
        }
        match situation.password {
            Err(problem) => Self::Blocked { problem: problem.clone(), counts: true },
            Ok(_) => Self::Published { expires },
        }
    }

    /// Whether the process is to end with the preview.
    pub fn ends_process(&self, situation: &Situation<'_>) -> bool {
        let preview = situation.desired.as_ref().ok().and_then(|desired| desired.preview.as_ref());
        matches!(self, Self::Expired { .. }) && preview.is_some_and(|preview| preview.stop_process_on_expiry)
    }
}

/// When a preview that has its host name ends.
fn expiry(published: Option<&Published>, lifetime: Option<Duration>) -> Option<Timestamp> {
    published?.since.checked_add(lifetime?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::is_dns_label;

    #[rstest::rstest]
    #[case::plain("web", "shop", "web-shop-000102030405060f")]
    #[case::long("a-very-long-name-of-a-server", "w", "a-very-long-name-of-w-000102030405060f")]
    #[case::cut_at_a_dash("twenty-characters-1-2", "w", "twenty-characters-1-w-000102030405060f")]
    #[case::nothing_left("---", "äö", "app-app-000102030405060f")]
    #[case::capitals("Web_App", "w.x", "web-app-w-x-000102030405060f")]
    fn host_names(#[case] devserver: &str, #[case] workspace: &str, #[case] expected: &str) {
        assert_eq!(host(devserver, workspace, [0, 1, 2, 3, 4, 5, 6, 15]), expected);
    }

    #[test]
    fn no_two_are_the_same() {
        assert_ne!(mint("a", "b"), mint("a", "b"));
    }

    proptest! {
        #[test]
        fn every_host_name_is_a_dns_label(devserver in any::<String>(), workspace in any::<String>()) {
            let made = mint(&devserver, &workspace);
            prop_assert!(is_dns_label(&made), "{made:?}");
        }
    }
}
