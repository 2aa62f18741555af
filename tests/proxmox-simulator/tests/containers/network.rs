//! Addresses, names and DNS.

use std::{net::Ipv4Addr, time::Duration};

use berth_proxmox_simulator::containers::Containers as _;
use ipnet::Ipv4Net;

use crate::world::{SYSTEMD, SYSVINIT, World, boot, eventually};

/// An address of the lower half, which is never given by DHCP.
fn fixed(subnet: Ipv4Net) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(subnet.network()) + 77)
}

#[tokio::test]
async fn a_fixed_address_and_the_hardware_address_are_as_given() {
    let world = World::new().await;
    let subnet = world.containers.subnet("vmbr0").await.unwrap();
    let address = fixed(subnet);
    let mut fixed = boot("box", &format!("{address}/{}", subnet.prefix_len()));
    for nic in &mut fixed.net {
        nic.gw = subnet.hosts().next().map(|gateway| gateway.to_string());
    }
    world.create(100, SYSVINIT).await;
    world.containers.start(100, &fixed).await.unwrap();
    assert_eq!(world.address(100).await, address.to_string());
    assert_eq!(world.ssh(&address.to_string(), "echo in").await, "in");
    let state = world.containers.state(100).await.unwrap();
    let eth0 = state.interfaces.iter().find(|interface| interface.name == "eth0").unwrap();
    assert!(eth0.hwaddr.eq_ignore_ascii_case("BC:24:11:AA:BB:01"), "{eth0:?}");
    assert!(world.read(100, "ip route").await.starts_with("default via"));
    assert!(world.read(100, "cat /etc/hosts").await.contains(&format!("{address} box")));
}

#[tokio::test]
async fn two_cards_keep_their_names_and_another_boot_has_others() {
    let world = World::new().await;
    let mut two = boot("box", "dhcp");
    let mut second = two.net.clone();
    for nic in &mut second {
        nic.name = "lan0".to_owned();
        // Docker puts it first.
        nic.bridge = "a-bridge".to_owned();
        nic.hwaddr = "BC:24:11:AA:BB:02".to_owned();
        nic.ip = Some("192.0.2.7/24".to_owned());
    }
    two.net.extend(second);
    world.create(100, SYSVINIT).await;
    world.containers.start(100, &two).await.unwrap();
    world.address(100).await;
    let cards = eventually("two cards", || async {
        let state = world.containers.state(100).await.unwrap();
        let mut names: Vec<_> = state.interfaces.into_iter().map(|card| (card.name, card.inet)).collect();
        names.sort();
        (names.len() == 3 && !names[1].1.is_empty()).then_some(names)
    })
    .await;
    assert_eq!(cards[1], ("lan0".to_owned(), vec!["192.0.2.7/24".to_owned()]));
    assert!(world.containers.shutdown(100, Duration::from_secs(30)).await.unwrap());

    world.containers.start(100, &boot("box", "manual")).await.unwrap();
    let names = eventually("one card", || async {
        let state = world.containers.state(100).await.unwrap();
        let names: Vec<_> = state.interfaces.into_iter().map(|card| (card.name, card.inet.len())).collect();
        (names.len() == 2).then_some(names)
    })
    .await;
    assert_eq!(names, [("lo".to_owned(), 1), ("eth0".to_owned(), 0)]);
}

#[tokio::test]
async fn dns_is_written_at_every_boot_unless_the_guest_keeps_its_own() {
    let world = World::new().await;
    world.create(100, SYSTEMD).await;
    let mut named = boot("box", "dhcp");
    named.nameserver = Some("192.0.2.53 192.0.2.54".to_owned());
    named.searchdomain = Some("example.com".to_owned());
    world.containers.start(100, &named).await.unwrap();
    world.address(100).await;
    let expected = "# --- BEGIN PVE ---\nsearch example.com\nnameserver 192.0.2.53\nnameserver 192.0.2.54\n\
                    # --- END PVE ---";
    assert_eq!(world.read(100, "cat /etc/resolv.conf").await, expected);
    // The file is no mount: it can be replaced.
    world.read(100, "echo nameserver 192.0.2.99 >/etc/new && mv /etc/new /etc/resolv.conf").await;

    again(&world, &named).await;
    assert_eq!(world.read(100, "cat /etc/resolv.conf").await, expected);

    world
        .read(100, "echo nameserver 192.0.2.99 >/etc/resolv.conf; ln -s x /etc/.pve-ignore.resolv.conf")
        .await;
    again(&world, &named).await;
    assert_eq!(world.read(100, "cat /etc/resolv.conf").await, expected, "a link is no regular file");

    world.read(100, "rm /etc/.pve-ignore.resolv.conf; touch /etc/.pve-ignore.resolv.conf").await;
    world.read(100, "echo nameserver 192.0.2.99 >/etc/resolv.conf").await;
    again(&world, &named).await;
    assert_eq!(world.read(100, "cat /etc/resolv.conf").await, "nameserver 192.0.2.99");
}

async fn again(world: &World, boot: &berth_proxmox_simulator::containers::Boot) {
    assert!(world.containers.shutdown(100, Duration::from_secs(30)).await.unwrap());
    world.containers.start(100, boot).await.unwrap();
    world.address(100).await;
}
