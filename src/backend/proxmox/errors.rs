//! A cluster's refusals in the words that every backend uses.

use super::client::{Cause, Error, Failure, Lock, Missing, Needs};
use crate::backend::{BackendError, Reason};

/// What a failed call means for a workspace.
pub(super) fn from_client(error: &Error) -> BackendError {
    let words = match &error.failure {
        Failure::Denied { needs: Needs::Privilege { path, any_of }, .. } => {
            format!("the token lacks {} on {path} ({})", any_of.join(" or "), error.call)
        }
        Failure::Denied { needs: Needs::Pool(pool), .. } => {
            format!("the token may not use pool {pool:?}, or there is none ({})", error.call)
        }
        Failure::Denied { needs: Needs::Root, .. } => {
            format!("only root@pam itself may do this, no token ({}): {}", error.call, error.failure)
        }
        _ => error.to_string(),
    };
    BackendError::new(reason(&error.failure), words)
}

fn reason(failure: &Failure) -> Reason {
    match failure {
        Failure::Unauthorized(_) => Reason::Unauthorized,
        Failure::Denied { .. } => Reason::Forbidden,
        Failure::Refused { cause, .. } => of_cause(cause),
        Failure::Unreachable(_) | Failure::Lost(_) | Failure::Proxy { .. } | Failure::Busy => {
            Reason::Unreachable
        }
        Failure::Unsendable(_) | Failure::Parameters { .. } | Failure::Unexpected { .. } => Reason::Failed,
    }
}

/// What the words of a refusal, or of a failed task, mean.
pub(super) fn of_cause(cause: &Cause) -> Reason {
    match cause {
        Cause::Missing(Missing::Container(_)) => Reason::NotFound,
        Cause::Missing(Missing::Node) | Cause::ClusterNotReady => Reason::Unreachable,
        Cause::Missing(Missing::Storage | Missing::Bridge | Missing::Pool) => Reason::Unsupported,
        Cause::Locked(_) | Cause::LockTimeout => Reason::Locked,
        Cause::AlreadyExists(_) => Reason::NumberTaken,
        Cause::CloneImpossible | Cause::CannotShrink => Reason::Unsupported,
        Cause::NotRunning => Reason::NotRunning,
        Cause::IsTemplate | Cause::Protected | Cause::HighAvailability => Reason::Conflict,
        _ => Reason::Failed,
    }
}

/// A failed task, in its own words.
pub(super) fn of_task(what: &str, words: &str) -> BackendError {
    BackendError::new(of_cause(&Cause::of(words)), format!("{what}: {words}"))
}

/// A lock that did not go within the time for it, and how it is cleared when nothing holds it: the
/// API can not do that.
pub(super) fn locked(vmid: u32, node: &str, lock: Lock) -> BackendError {
    let (name, holder) = (lock.as_str(), holder(lock));
    let words = format!(
        "CT {vmid} on {node} is locked ({name}): {holder}; `pct unlock {vmid}` on {node} clears a lock that nothing holds any more"
    );
    BackendError::new(Reason::Locked, words)
}

/// What holds a lock, and so what to look for.
fn holder(lock: Lock) -> &'static str {
    match lock {
        Lock::Create => "it is being made, or making it was cut off",
        Lock::Disk => "its disk is being copied or changed",
        Lock::Backup => "a backup of it is being taken",
        Lock::Snapshot | Lock::SnapshotDelete => "a snapshot of it is being taken or removed",
        Lock::Rollback => "it is being set back to a snapshot",
        Lock::Migrate => "it is being moved to another node",
        Lock::Destroyed => "it is being removed, or its removal was cut off",
        Lock::Fstrim => "its disk is being trimmed",
        Lock::Mounted => "its disk is mounted on the node",
        Lock::Unknown => "something holds it",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case("CT is locked (backup)", Reason::Locked)]
    #[case("CT 1000 already exists on node 'pve1'", Reason::NumberTaken)]
    #[case("Configuration file 'nodes/pve1/lxc/1000.conf' does not exist", Reason::NotFound)]
    #[case("storage 'nas' does not exist", Reason::Unsupported)]
    #[case("cluster not ready - no quorum?", Reason::Unreachable)]
    #[case("something new", Reason::Failed)]
    fn a_failed_task_has_a_reason(#[case] words: &str, #[case] reason: Reason) {
        let error = of_task("the clone failed", words);
        assert_eq!((error.reason, error.message), (reason, format!("the clone failed: {words}")));
    }

    #[test]
    fn a_lock_is_named_with_its_cure() {
        let error = locked(1003, "pve1", Lock::Backup);
        assert_eq!(error.reason, Reason::Locked);
        assert!(error.message.starts_with("CT 1003 on pve1 is locked (backup): a backup of it"), "{error}");
        assert!(error.message.contains("`pct unlock 1003` on pve1"), "{error}");
    }
}
