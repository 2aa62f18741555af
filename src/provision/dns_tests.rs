use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

use rstest::rstest;
use tempfile::TempDir;

use super::*;
use crate::backend::Guest as _;
use crate::provision::testing::{DockerGuest, run_locally};

/// How `chattr` behaves in the container.
#[derive(Clone, Copy)]
enum Chattr {
    Works,
    Refused,
    Missing,
}

/// A folder that stands for `/etc`, and a `chattr` that writes down what it is asked.
struct Guest {
    home: TempDir,
    chattr: Chattr,
}

impl Guest {
    fn new(chattr: Chattr) -> Self {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join("etc")).unwrap();
        fs::create_dir(home.path().join("bin")).unwrap();
        let code = match chattr {
            Chattr::Works => "0",
            Chattr::Refused => "1",
            // What a shell says of a command that is not there.
            Chattr::Missing => "127",
        };
        let program = home.path().join("bin/chattr");
        let log = home.path().join("asked");
        fs::write(&program, format!("#!/bin/sh\necho \"$1\" >>'{}'\nexit {code}\n", log.display())).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        Self { home, chattr }
    }

    fn etc(&self, name: &str) -> PathBuf {
        self.home.path().join("etc").join(name)
    }

    fn resolv_conf(&self) -> String {
        assert!(!self.etc("resolv.conf").is_symlink());
        fs::read_to_string(self.etc("resolv.conf")).unwrap()
    }

    fn is_kept_from_host(&self) -> bool {
        self.etc(".pve-ignore.resolv.conf").symlink_metadata().is_ok_and(|file| file.is_file())
    }

    fn asked_of_chattr(&self) -> Vec<String> {
        let asked = fs::read_to_string(self.home.path().join("asked")).unwrap_or_default();
        asked.lines().map(str::to_owned).collect()
    }

    async fn set_up(&self, mode: DnsMode, servers: &[&str]) -> ResolvConf {
        let servers = servers.iter().map(|server| server.parse().unwrap()).collect();
        let setup = DnsSetup { mode, servers };
        let mut command = setup.command_in(self.etc("").to_str().unwrap());
        let path = format!("{}:{}", self.home.path().join("bin").display(), std::env::var("PATH").unwrap());
        command.env.insert("PATH".to_owned(), path);
        let output = run_locally(self.home.path(), command).await;
        assert_eq!(output.exit_code, 0, "{output:?}");
        setup.outcome(&output)
    }
}

#[rstest]
#[case::servers(DnsMode::Static, &["9.9.9.9", "2620:fe::fe"], "nameserver 9.9.9.9\nnameserver 2620:fe::fe\n")]
#[case::fallback(DnsMode::Tailscale, &["9.9.9.9"], "nameserver 100.100.100.100\nnameserver 9.9.9.9\n")]
#[case::nothing_twice(DnsMode::Tailscale, &["9.9.9.9", "100.100.100.100"], "nameserver 100.100.100.100\nnameserver 9.9.9.9\n")]
#[case::tailscale_alone(DnsMode::Tailscale, &[], "nameserver 100.100.100.100\n")]
#[case::no_servers(DnsMode::Static, &[], "nameserver 192.0.2.1\n")]
#[tokio::test]
async fn the_servers_are_written_and_the_host_is_kept_out(
    #[case] mode: DnsMode,
    #[case] servers: &[&str],
    #[case] expected: &str,
    #[values(Chattr::Works, Chattr::Refused, Chattr::Missing)] chattr: Chattr,
) {
    let guest = Guest::new(chattr);
    fs::write(guest.etc("resolv.conf"), "nameserver 192.0.2.1\n").unwrap();
    let wanted = match guest.chattr {
        Chattr::Works => ResolvConf::Immutable,
        Chattr::Refused | Chattr::Missing => ResolvConf::Changeable,
    };
    for _ in 0..2 {
        assert_eq!(guest.set_up(mode, servers).await, wanted);
        assert_eq!(guest.resolv_conf(), expected);
        assert!(guest.is_kept_from_host());
    }
}

#[tokio::test]
async fn links_are_replaced_and_what_they_point_to_is_left() {
    let guest = Guest::new(Chattr::Works);
    fs::write(guest.etc("stub"), "nameserver 9.9.9.9\n").unwrap();
    for name in ["resolv.conf", ".pve-ignore.resolv.conf"] {
        std::os::unix::fs::symlink(guest.etc("stub"), guest.etc(name)).unwrap();
    }
    guest.set_up(DnsMode::Static, &["8.8.8.8"]).await;
    assert_eq!(guest.resolv_conf(), "nameserver 8.8.8.8\n");
    assert!(guest.is_kept_from_host());
    assert_eq!(fs::read_to_string(guest.etc("stub")).unwrap(), "nameserver 9.9.9.9\n");
    // The same words behind a link are not enough either.
    fs::rename(guest.etc("resolv.conf"), guest.etc("stub")).unwrap();
    std::os::unix::fs::symlink(guest.etc("stub"), guest.etc("resolv.conf")).unwrap();
    guest.set_up(DnsMode::Static, &["8.8.8.8"]).await;
    assert_eq!(guest.resolv_conf(), "nameserver 8.8.8.8\n");
}

#[tokio::test]
async fn a_file_that_is_right_is_not_opened_for_change() {
    let guest = Guest::new(Chattr::Works);
    guest.set_up(DnsMode::Static, &["8.8.8.8"]).await;
    assert_eq!(guest.asked_of_chattr(), ["-i", "+i"]);
    guest.set_up(DnsMode::Static, &["8.8.8.8"]).await;
    assert_eq!(guest.asked_of_chattr(), ["-i", "+i", "+i"]);
    guest.set_up(DnsMode::Static, &["8.8.8.8", "1.1.1.1"]).await;
    assert_eq!(guest.asked_of_chattr(), ["-i", "+i", "+i", "-i", "+i"]);
}

#[tokio::test]
async fn a_host_that_is_to_write_it_gets_it_back() {
    let guest = Guest::new(Chattr::Works);
    fs::write(guest.etc("resolv.conf"), "nameserver 192.0.2.1\n").unwrap();
    assert_eq!(guest.set_up(DnsMode::Host, &["8.8.8.8"]).await, ResolvConf::LeftToHost);
    assert_eq!(guest.asked_of_chattr(), Vec::<String>::new(), "there was nothing to undo");
    guest.set_up(DnsMode::Static, &["8.8.8.8"]).await;
    for _ in 0..2 {
        assert_eq!(guest.set_up(DnsMode::Host, &["8.8.8.8"]).await, ResolvConf::LeftToHost);
        assert!(!guest.is_kept_from_host());
        assert_eq!(guest.resolv_conf(), "nameserver 8.8.8.8\n", "the host writes it at the next start");
    }
    assert_eq!(guest.asked_of_chattr(), ["-i", "+i", "-i"]);
}

#[tokio::test]
#[ignore = "needs Docker and an image: BERTH_TEST_IMAGE"]
async fn root_in_a_privileged_container_can_not_write_it_until_the_host_may() {
    let image = std::env::var("BERTH_TEST_IMAGE").expect("BERTH_TEST_IMAGE names an image");
    let guest = DockerGuest::start(&image, &["--cap-add=LINUX_IMMUTABLE"]).await;
    guest.output_of("root", "mkdir /srv/etc").await;
    let set_up = async |mode, server: &str| {
        let setup = DnsSetup { mode, servers: vec![server.parse().unwrap()] };
        let output = guest.run(setup.command_in("/srv/etc")).await.unwrap();
        assert_eq!(output.exit_code, 0, "{output:?}");
        setup.outcome(&output)
    };
    for server in ["9.9.9.9", "9.9.9.9", "8.8.8.8"] {
        assert_eq!(set_up(DnsMode::Static, server).await, ResolvConf::Immutable);
        let kept = "cd /srv/etc; ! echo x >resolv.conf && ! rm -f resolv.conf && cat resolv.conf";
        assert_eq!(guest.output_of("root", kept).await, format!("nameserver {server}\n"));
    }
    assert_eq!(set_up(DnsMode::Host, "8.8.8.8").await, ResolvConf::LeftToHost);
    guest.output_of("root", "echo x >/srv/etc/resolv.conf").await;
}
