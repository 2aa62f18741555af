//! Copies of file systems.

use std::time::Duration;

use berth_proxmox_simulator::containers::Containers as _;
use rstest::rstest;

use crate::world::{SYSTEMD, SYSVINIT, World, boot, eventually};

const SHUTDOWN: Duration = Duration::from_secs(30);

#[rstest]
#[case::systemd(SYSTEMD)]
#[case::sysvinit(SYSVINIT)]
#[tokio::test]
async fn a_copy_has_the_files_and_an_address_of_its_own(#[case] os_template: &str) {
    let world = World::new().await;
    world.create(100, os_template).await;
    world.containers.start(100, &boot("template", "dhcp")).await.unwrap();
    let template = world.address(100).await;
    world.read(100, "echo baked >/opt/mark").await;
    let host_key = world.ssh(&template, "cat /etc/ssh/ssh_host_ed25519_key.pub").await;
    assert!(world.containers.shutdown(100, SHUTDOWN).await.unwrap());

    world.containers.copy(100, 101).await.unwrap();
    world.containers.copy(100, 102).await.unwrap();
    let mut other = boot("second", "dhcp");
    for nic in &mut other.net {
        nic.hwaddr = "BC:24:11:AA:BB:02".to_owned();
    }
    world.containers.start(101, &boot("first", "dhcp")).await.unwrap();
    world.containers.start(102, &other).await.unwrap();
    let (first, second) = (world.address(101).await, world.address(102).await);
    assert_ne!(first, second);
    assert_eq!(world.ssh(&first, "cat /opt/mark; hostname").await, "baked\nfirst");
    // Host keys are copied: nobody makes new ones.
    assert_eq!(world.ssh(&second, "cat /etc/ssh/ssh_host_ed25519_key.pub").await, host_key);
}

#[tokio::test]
async fn a_copy_has_another_machine_id() {
    let world = World::new().await;
    world.create(100, SYSTEMD).await;
    world.containers.start(100, &boot("template", "dhcp")).await.unwrap();
    let original = machine_id(&world, 100).await;
    assert!(world.containers.shutdown(100, SHUTDOWN).await.unwrap());
    world.containers.copy(100, 101).await.unwrap();
    world.containers.start(101, &boot("copy", "dhcp")).await.unwrap();
    assert_ne!(machine_id(&world, 101).await, original);
    world.containers.start(100, &boot("template", "dhcp")).await.unwrap();
    assert_eq!(machine_id(&world, 100).await, original, "the original keeps its own");
}

async fn machine_id(world: &World, vmid: u32) -> String {
    eventually("a machine-id", || async {
        let id = world.read(vmid, "cat /etc/machine-id").await;
        (id.len() == 32).then_some(id)
    })
    .await
}

#[tokio::test]
async fn a_copy_that_keeps_its_own_name_resolution_has_dockers() {
    let world = World::new().await;
    world.create(100, SYSVINIT).await;
    world.containers.start(100, &boot("box", "dhcp")).await.unwrap();
    world.read(100, "touch /etc/.pve-ignore.resolv.conf; echo nameserver 192.0.2.99 >/etc/resolv.conf").await;
    assert!(world.containers.shutdown(100, SHUTDOWN).await.unwrap());
    world.containers.copy(100, 101).await.unwrap();
    world.containers.start(101, &boot("copy", "dhcp")).await.unwrap();
    let found = world.read(101, "cat /etc/resolv.conf; stat -c %a /etc/resolv.conf; hostname").await;
    // Docker's archives show its own file, and not the original's.
    assert!(found.starts_with("nameserver 127.0.0.11\n") && found.ends_with("\n644\ncopy"), "{found}");
}

#[tokio::test]
async fn a_copy_is_of_the_last_state() {
    let world = World::new().await;
    world.create(100, SYSVINIT).await;
    for (word, copy) in [("one", 101), ("two", 102)] {
        world.containers.start(100, &boot("box", "dhcp")).await.unwrap();
        world.address(100).await;
        world.read(100, &format!("echo {word} >/opt/mark")).await;
        assert!(world.containers.shutdown(100, SHUTDOWN).await.unwrap());
        world.containers.copy(100, copy).await.unwrap();
        world.containers.start(copy, &boot("copy", "dhcp")).await.unwrap();
        assert_eq!(world.read(copy, "cat /opt/mark").await, word);
    }
}

#[tokio::test]
async fn a_running_container_is_not_copied() {
    let world = World::new().await;
    world.create(100, SYSVINIT).await;
    world.containers.start(100, &boot("box", "dhcp")).await.unwrap();
    assert_eq!(world.containers.copy(100, 101).await.unwrap_err(), "CT 100 is running");
}
