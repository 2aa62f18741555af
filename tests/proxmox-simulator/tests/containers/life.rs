//! From an OS template to nothing.

use std::time::{Duration, Instant};

use berth_proxmox_simulator::containers::{Containers as _, Setup};
use bollard::query_parameters::{ListContainersOptions, ListImagesOptions, ListNetworksOptions};
use rstest::rstest;

use crate::world::{SYSTEMD, SYSVINIT, World, boot, eventually};

#[rstest]
#[case::systemd(SYSTEMD, "systemd")]
#[case::sysvinit(SYSVINIT, "init")]
#[tokio::test]
async fn a_container_boots_lets_its_key_in_and_shuts_down(#[case] os_template: &str, #[case] init: &str) {
    let world = World::new().await;
    world.create(100, os_template).await;
    assert_eq!(world.containers.state(100).await.unwrap().pid, None);
    world.containers.start(100, &boot("web.example.com", "dhcp")).await.unwrap();
    let address = world.address(100).await;
    assert_eq!(world.ssh(&address, "hostname; cat /etc/hostname; id -un").await, "web\nweb\nroot");
    assert_eq!(world.read(100, "cat /proc/1/comm").await, init);
    let state = world.containers.state(100).await.unwrap();
    assert!(state.pid.is_some() && state.started.is_some(), "{state:?}");

    let asked = Instant::now();
    assert!(world.containers.shutdown(100, Duration::from_secs(30)).await.unwrap());
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    let state = world.containers.state(100).await.unwrap();
    assert_eq!((state.pid, state.started, state.interfaces.len()), (None, None, 0));
}

#[tokio::test]
async fn systemd_is_content_with_its_machine() {
    let world = World::new().await;
    world.create(100, SYSTEMD).await;
    world.containers.start(100, &boot("box", "dhcp")).await.unwrap();
    let state = eventually("end of the boot", || async {
        let output = world.sh(100, "systemctl is-system-running").await;
        let state = String::from_utf8(output.stdout).unwrap().trim_end().to_owned();
        ["running", "degraded"].contains(&state.as_str()).then_some(state)
    })
    .await;
    assert_eq!(state, "running", "{}", world.read(100, "systemctl --failed").await);
}

#[rstest]
#[case::systemd(SYSTEMD)]
#[case::sysvinit(SYSVINIT)]
#[tokio::test]
async fn a_container_ends_at_once_when_it_is_killed(#[case] os_template: &str) {
    let world = World::new().await;
    world.create(100, os_template).await;
    world.containers.start(100, &boot("box", "dhcp")).await.unwrap();
    world.address(100).await;
    world.containers.kill(100).await.unwrap();
    assert_eq!(world.containers.state(100).await.unwrap().pid, None);
    assert!(world.containers.shutdown(100, Duration::from_secs(1)).await.unwrap(), "it has ended");
}

#[tokio::test]
async fn a_guest_that_ignores_the_request_goes_on() {
    let world = World::new().await;
    world.create(100, SYSVINIT).await;
    world.containers.start(100, &boot("box", "dhcp")).await.unwrap();
    world.address(100).await;
    world.read(100, "sed -i /^pf/d /etc/inittab; telinit q").await;
    eventually("an init without the line", || async {
        let asked = world.containers.shutdown(100, Duration::from_millis(500)).await.unwrap();
        (!asked).then_some(())
    })
    .await;
    assert!(world.containers.state(100).await.unwrap().pid.is_some());
}

#[tokio::test]
async fn a_command_gets_its_input_and_gives_its_code() {
    let world = World::new().await;
    world.create(100, SYSVINIT).await;
    world.containers.start(100, &boot("box", "dhcp")).await.unwrap();
    let argv = ["sh", "-c", "cat; echo wrong >&2; exit 3"].map(str::to_owned);
    let input = vec![b'x'; 300_000];
    let output = world.containers.exec(100, &argv, &input).await.unwrap();
    assert_eq!((output.code, output.stdout.len(), output.stderr), (3, 300_000, b"wrong\n".to_vec()));
    let unread = world.containers.exec(100, &["true".to_owned()], &input).await.unwrap();
    assert_eq!(unread.code, 0);
}

#[tokio::test]
async fn packages_can_be_installed() {
    let world = World::new().await;
    world.create(100, SYSTEMD).await;
    world.containers.start(100, &boot("box", "dhcp")).await.unwrap();
    // By then systemd has cleaned /tmp up.
    world.ssh(&world.address(100).await, "true").await;
    for absent in ["sudo", "git", "curl"] {
        assert_ne!(world.sh(100, &format!("command -v {absent}")).await.code, 0, "{absent} is there");
    }
    world.read(100, "apt-get update -qq && apt-get install -qq --no-install-recommends sudo").await;
    assert_eq!(world.read(100, "sudo id -un").await, "root");
}

#[tokio::test]
async fn a_password_given_at_creation_is_root_s() {
    let world = World::new().await;
    let setup =
        Setup { hostname: "box".to_owned(), root_password: Some("secret".to_owned()), ssh_public_keys: None };
    world.containers.create(100, SYSVINIT, &setup).await.unwrap();
    world.containers.start(100, &boot("box", "dhcp")).await.unwrap();
    world.address(100).await;
    assert_eq!(world.read(100, "passwd -S root | cut -d' ' -f2").await, "P");
    assert_eq!(world.read(100, "stat -c %U:%G:%a /etc/shadow").await, "root:shadow:640");
    assert_eq!(world.sh(100, "test -e /root/.ssh/authorized_keys").await.code, 1);
}

#[tokio::test]
async fn an_unknown_os_template_is_refused() {
    let world = World::new().await;
    let refused = world.containers.create(100, "local:vztmpl/arch.tar.zst", &Setup::default()).await;
    assert_eq!(refused.unwrap_err(), "volume 'local:vztmpl/arch.tar.zst' does not exist");
}

#[tokio::test]
async fn limits_are_real() {
    let world = World::new().await;
    world.create(100, SYSVINIT).await;
    world.containers.start(100, &boot("box", "dhcp")).await.unwrap();
    let container = world.docker.inspect_container(&format!("pve-sim-{}-100", world.cluster), None).await;
    let limits = container.unwrap().host_config.unwrap();
    assert_eq!((limits.memory, limits.nano_cpus), (Some(256 << 20), Some(1_000_000_000)));
}

#[tokio::test]
async fn nothing_is_left() {
    let world = World::new().await;
    world.create(100, SYSVINIT).await;
    world.containers.copy(100, 101).await.unwrap();
    world.containers.copy(101, 102).await.unwrap();
    world.containers.start(102, &boot("box", "dhcp")).await.unwrap();
    for vmid in [100, 101, 102] {
        world.containers.remove(vmid).await.unwrap();
    }
    let labelled = format!("dev.berth.proxmox-simulator.cluster={}", world.cluster);
    let filters = Some([("label".to_owned(), vec![labelled])].into());
    let options = ListContainersOptions { all: true, filters: filters.clone(), ..Default::default() };
    assert!(world.docker.list_containers(Some(options)).await.unwrap().is_empty());
    let options = ListImagesOptions { all: true, filters: filters.clone(), ..Default::default() };
    let images = world.docker.list_images(Some(options)).await.unwrap();
    assert!(images.is_empty(), "{images:?}");

    world.containers.cleanup().await.unwrap();
    let options = ListNetworksOptions { filters };
    assert!(world.docker.list_networks(Some(options)).await.unwrap().is_empty());
}
