//! Which VMID a new container gets. Pure.

use std::collections::BTreeSet;

use crate::{
    backend::{BackendError, Reason},
    config::proxmox::VmidRange,
};

/// The lowest VMID of a range that nothing has, and nothing is promised to.
///
/// What counts as used is everything on the cluster (containers and machines that Berth knows
/// nothing of), everything that is written down in a status (containers that are not made yet),
/// and everything that this process has promised.
pub(super) fn lowest_free(range: VmidRange, used: &[&BTreeSet<u32>]) -> Result<u32, BackendError> {
    (range.first..=range.last).find(|vmid| !used.iter().any(|used| used.contains(vmid))).ok_or_else(|| {
        BackendError::new(
            Reason::NumbersExhausted,
            format!("every VMID from {} to {} is in use", range.first, range.last),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case::the_first(&[], &[], Ok(500))]
    #[case::after_what_is_there(&[500, 501], &[], Ok(502))]
    #[case::between(&[500, 502], &[], Ok(501))]
    #[case::written_down_is_used(&[500], &[501], Ok(502))]
    #[case::the_last(&[500, 501], &[502], Ok(503))]
    #[case::none_left(&[500, 501], &[502, 503], Err(Reason::NumbersExhausted))]
    #[case::others_do_not_count(&[100, 9000], &[], Ok(500))]
    fn allocation(#[case] live: &[u32], #[case] promised: &[u32], #[case] expected: Result<u32, Reason>) {
        let [live, promised] = [live, promised].map(|list| list.iter().copied().collect());
        let found = lowest_free(VmidRange { first: 500, last: 503 }, &[&live, &promised]);
        assert_eq!(found.map_err(|error| error.reason), expected);
    }
}
