//! Which host a new body goes to. Pure.

use std::{cmp::Reverse, collections::BTreeMap};

use crate::backend::HostState;

/// The host for a new body: the pinned one, else the reachable one with the most free memory. What
/// workspaces were promised is not free, whether they use it already or not; nor is what is in use,
/// since others may be on the host too.
pub fn place(
    hosts: &[HostState],
    pinned: Option<&str>,
    committed: &BTreeMap<&str, u64>,
) -> Result<String, String> {
    let candidates = hosts.iter().filter(|host| pinned.is_none_or(|name| host.name == name));
    let free = |host: &&HostState| {
        let promised = committed.get(host.name.as_str()).copied().unwrap_or_default();
        let gone = promised.max(host.memory_used_bytes);
        let left = i128::from(host.memory_bytes) - i128::from(gone);
        (left, Reverse(promised), Reverse(host.name.clone()))
    };
    if let Some(best) = candidates.clone().filter(|host| host.unreachable.is_none()).max_by_key(free) {
        return Ok(best.name.clone());
    }
    if let Some(pinned) = pinned.filter(|_| candidates.clone().next().is_none()) {
        return Err(format!("the backend has no host {pinned:?}"));
    }
    let reasons: Vec<String> = candidates
        .map(|host| format!("{}: {}", host.name, host.unreachable.as_deref().unwrap_or_default()))
        .collect();
    Err(format!("no host of the backend answers: {}", reasons.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str, gibibytes: u64, down: bool) -> HostState {
        HostState {
            name: name.to_owned(),
            unreachable: down.then(|| "connection refused".to_owned()),
            memory_bytes: gibibytes << 30,
            // Others have filled this one.
            memory_used_bytes: if name == "full" { 15 << 30 } else { 1 << 30 },
            cpus: 4,
        }
    }

    #[rstest::rstest]
    #[case::the_emptiest(&[("a", 8, false), ("b", 16, false)], None, Ok("b"))]
    #[case::not_one_that_is_down(&[("a", 8, false), ("b", 16, true)], None, Ok("a"))]
    #[case::what_is_promised_counts(&[("a", 8, false), ("c", 16, false)], None, Ok("a"))]
    #[case::what_others_use_counts(&[("a", 8, false), ("full", 16, false)], None, Ok("a"))]
    #[case::the_pinned_one(&[("a", 8, false), ("b", 16, false)], Some("a"), Ok("a"))]
    #[case::the_pinned_one_or_none(&[("a", 8, true), ("b", 16, false)], Some("a"), Err("no host of the backend answers: a: connection refused"))]
    #[case::a_pinned_one_that_is_not_there(&[("a", 8, false)], Some("b"), Err("the backend has no host \"b\""))]
    #[case::the_first_by_name_of_equals(&[("b", 8, false), ("a", 8, false)], None, Ok("a"))]
    fn placement(
        #[case] hosts: &[(&str, u64, bool)],
        #[case] pinned: Option<&str>,
        #[case] expected: Result<&str, &str>,
    ) {
        let hosts: Vec<HostState> = hosts.iter().map(|(name, size, down)| host(name, *size, *down)).collect();
        let committed = BTreeMap::from([("c", 12 << 30)]);
        let found = place(&hosts, pinned, &committed);
        assert_eq!(found.as_deref().map_err(String::as_str), expected);
    }
}
