use std::collections::BTreeMap;

use super::*;
use crate::{
    backend::DnsMode,
    provision::{ProvisionReason, testing::DockerGuest},
};

fn setup() -> Setup {
    Setup {
        agent: None,
        dns: None,
        name: "shop".into(),
        namespace: "team".into(),
        user: "dev".into(),
        environment: Environment {
            public: BTreeMap::from([("ODD".into(), "a'b\n\n$(id)\n".into())]),
            secret: BTreeMap::from([("KEY".into(), "hid'den\n\n".to_owned().into())]),
        },
        extra_ca: Some("-----BEGIN CERTIFICATE-----\r\nabc\r\n-----END CERTIFICATE-----".into()),
        proxy: Proxy { no_proxy: Some("localhost".into()), ..Proxy::default() },
        git: GitIdentity { name: Some("Ann O'Neil".into()), email: Some("ann@example.com".into()) },
    }
}

#[test]
fn secrets_are_on_standard_input_alone() {
    let command = setup().command().unwrap();
    assert!(command.env.is_empty());
    assert!(!command.argv.iter().any(|argument| argument.contains("hid")));
    assert!(command.stdin.unwrap().expose_secret().contains("hid"));
}

#[test]
fn the_line_numbers_fit_the_input() {
    let command = setup().command().unwrap();
    let counts: usize =
        command.argv[command.argv.len() - 5..].iter().map(|n| n.parse::<usize>().unwrap()).sum();
    assert_eq!(counts, command.stdin.unwrap().expose_secret().lines().count());
}

#[test]
fn nobody_takes_the_place_of_a_constant() {
    let mut setup = setup();
    setup.environment.secret.insert("WORKSPACE_NAME".into(), "other".to_owned().into());
    let environment = setup.whole_environment();
    assert_eq!(environment.public["WORKSPACE_NAME"], "shop");
    assert!(!environment.secret.contains_key("WORKSPACE_NAME"));
}

#[test]
fn bad_setups_are_refused_before_anything_is_run() {
    let user = Setup { user: "a b".into(), ..setup() }.command().unwrap_err();
    assert_eq!(user.reason, ProvisionReason::UserInvalid);
    let mut variable = setup();
    variable.environment.public.insert("X".into(), "\0".into());
    assert_eq!(variable.command().unwrap_err().reason, ProvisionReason::EnvironmentInvalid);
}

/// Run with `BERTH_TEST_IMAGE=IMAGE cargo test --lib provision:: -- --ignored`.
fn image() -> String {
    std::env::var("BERTH_TEST_IMAGE")
        .expect("BERTH_TEST_IMAGE names an image that the docker command can start")
}

const MOUNTS: &[&str] = &[
    "--volume=/workspace",
    "--volume=/home/dev/.cache",
    "--tmpfs=/run/berth",
    "--cap-drop=ALL",
    "--cap-add=CHOWN",
    "--cap-add=DAC_OVERRIDE",
    "--cap-add=FOWNER",
    "--cap-add=SETUID",
    "--cap-add=SETGID",
    "--security-opt=no-new-privileges",
];

#[tokio::test]
#[ignore = "needs Docker and an image: BERTH_TEST_IMAGE"]
async fn a_container_becomes_a_workspace_and_stays_one() {
    let guest = DockerGuest::start(&image(), MOUNTS).await;
    for _ in 0..2 {
        configure(&guest, &setup()).await.unwrap();
        let odd = guest.output_of("dev", "sh -lc 'printf %s. \"$ODD$KEY$WORKSPACE_NAME$no_proxy\"'").await;
        assert_eq!(odd, "a'b\n\n$(id)\nhid'den\n\nshoplocalhost.");
        let owners = guest.output_of("root", "cd /; stat -c '%U %a %n' workspace home/dev home/dev/.cache run/berth/secrets.env run/berth/user etc/profile.d/berth.sh etc/berth/*.crt").await;
        let owners: Vec<_> = owners.lines().collect();
        assert!(owners[0].starts_with("dev "), "{owners:?}");
        assert!(owners[1].starts_with("dev ") && owners[2].starts_with("dev "), "{owners:?}");
        assert_eq!(
            owners[3..],
            [
                "dev 600 run/berth/secrets.env",
                "dev 700 run/berth/user",
                "root 644 etc/profile.d/berth.sh",
                "root 644 etc/berth/ca-certificates.crt",
                "root 644 etc/berth/extra-ca.crt",
            ]
        );
        guest.output_of("dev", "touch /workspace/x ~/.cache/x ~/x && test -e ~/.profile").await;
        let root = guest.output_of("root", "sh -lc 'printf %s. \"$KEY\"'").await;
        assert_eq!(root, ".", "root runs no file of the user's");
        let left = guest
            .output_of("root", "ls -A /run/berth /etc/berth /etc/profile.d | grep -c '\\.XX\\|setup' || true")
            .await;
        assert_eq!(left.trim(), "0");
        let combined = guest
            .output_of(
                "root",
                "grep -c BEGIN /etc/berth/ca-certificates.crt; tail -n 1 /etc/berth/extra-ca.crt",
            )
            .await;
        assert!(combined.ends_with("\n-----END CERTIFICATE-----\n"), "{combined}");
        let name =
            guest.output_of("dev", "! command -v git >/dev/null || git config --global user.name").await;
        assert!(name.is_empty() || name == "Ann O'Neil\n");
    }
    let without = Setup { extra_ca: None, git: GitIdentity::default(), ..setup() };
    configure(&guest, &without).await.unwrap();
    guest
        .output_of("root", "! ls /etc/berth/*.crt 2>/dev/null && ! grep SSL_CERT /etc/profile.d/berth.sh")
        .await;
}

#[tokio::test]
#[ignore = "needs Docker and an image: BERTH_TEST_IMAGE"]
async fn what_goes_wrong_is_said() {
    let guest = DockerGuest::start(&image(), &["--cap-drop=ALL", "--volume=/workspace"]).await;
    guest.output_of("root", "rm -f /etc/berth/x").await;
    let error = configure(&guest, &setup()).await.unwrap_err();
    assert_eq!(error.reason, ProvisionReason::SetupFailed);
    assert!(!error.message.is_empty());

    let guest = DockerGuest::start(&image(), &[]).await;
    guest
        .output_of("root", "sed -i /^dev:/d /etc/passwd; rm -f $(command -v useradd) $(command -v adduser)")
        .await;
    let error = configure(&guest, &setup()).await.unwrap_err();
    assert_eq!(
        error.message,
        "user dev does not exist, and the image has neither useradd nor adduser to make it"
    );
}

#[tokio::test]
#[ignore = "needs Docker and an image: BERTH_TEST_IMAGE"]
async fn a_container_that_may_make_no_file_immutable_keeps_its_servers_all_the_same() {
    let guest = DockerGuest::start(&image(), MOUNTS).await;
    let dns = DnsSetup { mode: DnsMode::Tailscale, servers: vec!["9.9.9.9".parse().unwrap()] };
    let setup = Setup { dns: Some(dns), ..setup() };
    for _ in 0..2 {
        let reached = configure(&guest, &setup).await.unwrap();
        assert_eq!(reached.resolv_conf, Some(ResolvConf::Changeable));
        let written = guest
            .output_of("root", "stat -c '%F %U %a' /etc/.pve-ignore.resolv.conf; cat /etc/resolv.conf")
            .await;
        assert_eq!(written, "regular empty file root 644\nnameserver 100.100.100.100\nnameserver 9.9.9.9\n");
    }
    let host = DnsSetup { mode: DnsMode::Host, servers: Vec::new() };
    let reached = configure(&guest, &Setup { dns: Some(host), ..setup }).await.unwrap();
    assert_eq!(reached.resolv_conf, Some(ResolvConf::LeftToHost));
    guest.output_of("root", "! test -e /etc/.pve-ignore.resolv.conf && test -s /etc/resolv.conf").await;
}
