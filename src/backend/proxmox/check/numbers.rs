//! Whether there are VMIDs left. Pure.

use std::collections::BTreeSet;

use super::finding::Finding;
use crate::config::proxmox::{VmidRange, VmidRanges};

/// What is left of the ranges. `next` is the VMID that the cluster offers to others.
pub(super) fn ranges(ranges: &VmidRanges, used: &BTreeSet<u32>, next: Option<u32>) -> Vec<Finding> {
    let named = [("vmids.templates", ranges.templates), ("vmids.workspaces", ranges.workspaces)];
    let mut findings: Vec<Finding> = named.iter().map(|(name, range)| left(name, *range, used)).collect();
    let into = named.iter().find(|(_, range)| next.is_some_and(|next| range.contains(next)));
    if let (Some((name, _)), Some(next)) = (into, next) {
        let lower = ranges.templates.last.max(ranges.workspaces.last).saturating_add(1);
        let words = format!("the cluster offers {next} to whoever makes something next, which is in {name}");
        findings.push(Finding::doubtful("next VMID", words).mended_by(format!(
            "pvesh set /cluster/options --next-id lower={lower},upper={}",
            lower.saturating_add(1_000_000).min(1_000_000_000)
        )));
    }
    findings
}

fn left(name: &str, range: VmidRange, used: &BTreeSet<u32>) -> Finding {
    let all = u64::from(range.last.saturating_sub(range.first)) + 1;
    let free = all.saturating_sub(used.range(range.first..=range.last).count() as u64);
    let subject = format!("{name} {} to {}", range.first, range.last);
    match free {
        0 => Finding::missing(subject, format!("free: all {all} are used, also by what Berth did not make")),
        free => Finding::fine(subject, format!("{free} of {all} are free")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(used: &[u32], next: u32) -> Vec<String> {
        let vmids = VmidRanges {
            templates: VmidRange { first: 500, last: 501 },
            workspaces: VmidRange { first: 1000, last: 1999 },
        };
        let used = used.iter().copied().collect();
        ranges(&vmids, &used, Some(next)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_left() {
        let found = found(&[100, 500, 501, 1000], 101);
        assert_eq!(
            found,
            [
                "vmids.templates 500 to 501: NOT free: all 2 are used, also by what Berth did not make",
                "vmids.workspaces 1000 to 1999: 999 of 1000 are free",
            ]
        );
    }

    #[test]
    fn the_cluster_may_offer_our_numbers_to_others() {
        let found = found(&[], 1000);
        assert!(found[2].starts_with("next VMID: WARNING: the cluster offers 1000"), "{found:?}");
        assert!(found[2].ends_with("--next-id lower=2000,upper=1002000"), "{found:?}");
    }
}
