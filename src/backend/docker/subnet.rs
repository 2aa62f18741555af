//! Choosing addresses for a network.

use ipnet::{IpNet, Ipv4Net};

use crate::config::docker::WORKSPACE_PREFIX;

/// The lowest /28 of a range that overlaps nothing that is taken.
pub(super) fn lowest_free(range: Ipv4Net, taken: &[IpNet]) -> Option<Ipv4Net> {
    let mut taken: Vec<(u32, u32)> = taken
        .iter()
        .filter_map(|net| match net {
            IpNet::V4(net) => Some((net.network().to_bits(), net.broadcast().to_bits())),
            IpNet::V6(_) => None,
        })
        .collect();
    taken.sort_unstable();
    let size = 1u32 << (32 - u32::from(WORKSPACE_PREFIX));
    let mut start = range.network().to_bits();
    for (first, last) in taken {
        if first > start.checked_add(size - 1)? {
            break;
        }
        if last >= start {
            start = (last | (size - 1)).checked_add(1)?;
        }
    }
    let free = Ipv4Net::new(start.into(), WORKSPACE_PREFIX).ok()?;
    range.contains(&free).then_some(free)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn net(text: &str) -> Ipv4Net {
        text.parse().unwrap()
    }

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn gaps_are_filled_from_below() {
        let range = net("10.0.0.0/24");
        assert_eq!(lowest_free(range, &[]), Some(net("10.0.0.0/28")));
        let taken = nets(&["10.0.0.0/28", "10.0.0.32/28", "172.17.0.0/16", "fd00::/64"]);
        assert_eq!(lowest_free(range, &taken), Some(net("10.0.0.16/28")));
    }

    #[test]
    fn larger_and_smaller_neighbours_count() {
        let range = net("10.0.0.0/24");
        assert_eq!(lowest_free(range, &nets(&["10.0.0.0/25"])), Some(net("10.0.0.128/28")));
        assert_eq!(lowest_free(range, &nets(&["10.0.0.4/30"])), Some(net("10.0.0.16/28")));
        assert_eq!(lowest_free(range, &nets(&["10.0.0.0/8"])), None);
        assert_eq!(lowest_free(net("255.255.255.0/24"), &nets(&["255.255.255.0/24"])), None);
    }

    fn any_net() -> impl Strategy<Value = Ipv4Net> {
        // Close to each other, so that they collide.
        (0u32..2048, 20u8..=32)
            .prop_map(|(offset, prefix)| Ipv4Net::new((0x0a00_0000 + offset).into(), prefix).unwrap().trunc())
    }

    proptest! {
        #[test]
        fn what_is_chosen_is_the_lowest_that_is_free(
            prefix in 22u8..=28,
            taken in proptest::collection::vec(any_net(), 0..40),
        ) {
            let range = Ipv4Net::new(0x0a00_0000.into(), prefix).unwrap();
            let overlaps = |net: &Ipv4Net| taken.iter().any(|one| one.contains(net) || net.contains(one));
            let expected = range.subnets(28).unwrap().find(|net| !overlaps(net));
            let taken: Vec<_> = taken.iter().copied().map(IpNet::V4).collect();
            prop_assert_eq!(lowest_free(range, &taken), expected);
        }
    }
}
