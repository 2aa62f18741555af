//! What a failed call may have done, and whether it may be sent again.

use super::{
    cause::Cause,
    failure::{Failure, Reached},
};

/// What a call does, as far as repeating it is concerned.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CallKind {
    /// It only looks.
    Read,
    /// It changes something, and done twice it does the same as done once.
    Repeatable,
    /// Done twice it does something else than done once: every POST.
    Once,
}

/// What a failed call may have done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Effect {
    /// Nothing.
    Nothing,
    /// Nothing, a part, or all of it; or it is still being done. Only looking tells.
    Unknown,
}

/// When the same call may be sent again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Again {
    /// At once, elsewhere if there is another endpoint. The client does so itself, a few times.
    Now,
    /// When what stands in the way is over. The caller decides.
    Later,
    /// Not as it is: something must change, or be looked at, first.
    No,
}

/// What follows from a failure.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Verdict {
    /// What may have been done.
    pub effect: Effect,
    /// Whether the call may be sent again.
    pub again: Again,
}

/// What follows from a failure of a call of this kind.
pub fn verdict(failure: &Failure, kind: CallKind) -> Verdict {
    let again = again(failure, kind);
    let effect =
        if kind == CallKind::Read || is_harmless(failure) { Effect::Nothing } else { Effect::Unknown };
    Verdict { effect, again }
}

/// Whether a failure leaves everything as it was. A configuration is stored key by key, and a
/// failure in the middle takes nothing back: so an error that is not known is not harmless.
fn is_harmless(failure: &Failure) -> bool {
    match failure {
        Failure::Unsendable(_)
        | Failure::Busy
        | Failure::Unreachable(_)
        | Failure::Unauthorized(_)
        | Failure::Denied { .. }
        | Failure::Proxy { reached: Reached::Nobody, .. } => true,
        Failure::Lost(_) | Failure::Proxy { reached: Reached::Perhaps, .. } | Failure::Unexpected { .. } => {
            false
        }
        // The schema is checked before anything is done; what could not be applied, as an interface
        // that could not be plugged in, is reported the same way, and is not harmless.
        Failure::Parameters { errors, .. } => {
            !errors.is_empty() && !errors.values().any(|text| text.contains("unable to"))
        }
        Failure::Refused { cause, .. } => !matches!(
            cause,
            // "bridge does not exist" is said after every key of the call is stored.
            Cause::Other
                | Cause::Missing(super::cause::Missing::Bridge)
                | Cause::StartFailed
                | Cause::DidNotStop
                | Cause::Interrupted
        ),
    }
}

fn again(failure: &Failure, kind: CallKind) -> Again {
    match (failure, kind) {
        // Nothing was sent: any call may be tried elsewhere.
        (Failure::Unreachable(_), _) => Again::Now,
        (Failure::Lost(_) | Failure::Proxy { .. }, CallKind::Read) => Again::Now,
        (Failure::Lost(_) | Failure::Proxy { reached: Reached::Nobody, .. }, CallKind::Repeatable) => {
            Again::Now
        }
        (Failure::Proxy { reached: Reached::Nobody, .. }, CallKind::Once) => Again::Later,
        // It still keeps one of few workers busy; a second one would wait behind it.
        (Failure::Proxy { reached: Reached::Perhaps, .. }, CallKind::Repeatable) => Again::Later,
        (Failure::Refused { cause: Cause::ClusterNotReady, .. }, CallKind::Read) => Again::Now,
        (
            Failure::Refused {
                cause: Cause::Locked(_) | Cause::LockTimeout | Cause::ClusterNotReady, ..
            },
            _,
        ) => Again::Later,
        (Failure::Busy, _) => Again::Later,
        _ => Again::No,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rstest::rstest;

    use super::*;
    use crate::backend::proxmox::client::cause::{Lock, Missing};

    const NOW: (Effect, Again) = (Effect::Nothing, Again::Now);
    const LATER: (Effect, Again) = (Effect::Nothing, Again::Later);
    const NO: (Effect, Again) = (Effect::Nothing, Again::No);
    const LOOK: (Effect, Again) = (Effect::Unknown, Again::No);

    fn refused(cause: Cause) -> Failure {
        Failure::Refused { cause, words: String::new() }
    }

    fn proxy(reached: Reached) -> Failure {
        Failure::Proxy { reached, words: String::new() }
    }

    fn parameters(errors: &[(&str, &str)]) -> Failure {
        let errors =
            errors.iter().map(|&(name, text)| (name.to_owned(), text.to_owned())).collect::<BTreeMap<_, _>>();
        Failure::Parameters { words: String::new(), errors }
    }

    #[rstest]
    #[case::unreachable(Failure::Unreachable(String::new()), NOW, NOW, NOW)]
    #[case::lost(Failure::Lost(String::new()), NOW, (Effect::Unknown, Again::Now), LOOK)]
    #[case::connect_595(proxy(Reached::Nobody), NOW, NOW, LATER)]
    #[case::timeout_596(proxy(Reached::Perhaps), NOW, (Effect::Unknown, Again::Later), LOOK)]
    #[case::busy(Failure::Busy, LATER, LATER, LATER)]
    #[case::unsendable(Failure::Unsendable(String::new()), NO, NO, NO)]
    #[case::unauthorized(Failure::Unauthorized(String::new()), NO, NO, NO)]
    #[case::locked(refused(Cause::Locked(Lock::Disk)), LATER, LATER, LATER)]
    #[case::lock_timeout(refused(Cause::LockTimeout), LATER, LATER, LATER)]
    #[case::not_ready(refused(Cause::ClusterNotReady), NOW, LATER, LATER)]
    #[case::missing(refused(Cause::Missing(Missing::Container(None))), NO, NO, NO)]
    #[case::already_exists(refused(Cause::AlreadyExists(None)), NO, NO, NO)]
    #[case::changed(refused(Cause::ConfigurationChanged), NO, NO, NO)]
    #[case::bridge(refused(Cause::Missing(Missing::Bridge)), NO, LOOK, LOOK)]
    #[case::other(refused(Cause::Other), NO, LOOK, LOOK)]
    #[case::schema(parameters(&[("memory", "value must have a minimum value of 16")]), NO, NO, NO)]
    #[case::hotplug(parameters(&[("net0", "unable to hotplug net0: no bridge")]), NO, LOOK, LOOK)]
    #[case::unknown_400(parameters(&[]), NO, LOOK, LOOK)]
    #[case::unexpected(Failure::Unexpected { status: 302, words: String::new() }, NO, LOOK, LOOK)]
    fn what_follows_from_a_failure(
        #[case] failure: Failure,
        #[case] read: (Effect, Again),
        #[case] repeatable: (Effect, Again),
        #[case] once: (Effect, Again),
    ) {
        let seen = [CallKind::Read, CallKind::Repeatable, CallKind::Once].map(|kind| {
            let verdict = verdict(&failure, kind);
            (verdict.effect, verdict.again)
        });
        assert_eq!(seen, [read, repeatable, once]);
    }
}
