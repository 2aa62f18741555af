//! Hosts that go down, hang, and come back.

use std::time::{Duration, Instant};

use berth::backend::{Change, Reason};

use super::{
    proxy::{Place, Proxy},
    world::{HOST, SOCKET, World, announced, container_ref, docker, owner, until},
};

async fn behind_a_proxy(test: impl AsyncFnOnce(&World, &mut Proxy)) {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("docker.sock");
    let mut proxy = Proxy::start(Place::Socket(socket.clone()), Place::Socket(SOCKET.into())).await;
    World::run_at(&format!("endpoint: 'unix://{}'", socket.display()), async |world| {
        until("the host is up", async || world.host_is_up()).await;
        test(world, &mut proxy).await;
    })
    .await;
}

async fn fails_at_once(world: &World) {
    let begin = Instant::now();
    let error = world.backend.inspect(&container_ref("web").body).await.unwrap_err();
    assert_eq!(error.reason, Reason::Unreachable);
    assert!(error.message.starts_with("docker host here: "), "{error}");
    assert_eq!(world.backend.find(&owner("web")).await.unwrap_err().reason, Reason::Unreachable);
    assert!(begin.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn a_daemon_that_is_down_is_seen_and_seen_again_when_it_is_back() {
    behind_a_proxy(async |world, proxy| {
        let up = world.backend.hosts();
        assert!(up[0].memory_bytes > 1 << 30 && up[0].cpus > 0, "{up:?}");
        let container = world.running("web").await;
        let name = world.look(&container).await.name;
        let mut changes = world.backend.changes();
        proxy.stop().await;
        until("the host is down", async || !world.host_is_up()).await;
        announced(&mut changes, Change::Host(HOST.into())).await;
        fails_at_once(world).await;
        assert_eq!(world.backend.hosts()[0].memory_bytes, up[0].memory_bytes);
        docker(&["stop", "-t", "0", &name]);

        let mut changes = world.backend.changes();
        proxy.resume().await;
        until("the host is up", async || world.host_is_up()).await;
        announced(&mut changes, Change::Host(HOST.into())).await;
        assert!(world.backend.inspect(&container.body).await.is_ok());
        until("events come again", async || {
            let mut changes = world.backend.changes();
            docker(&["restart", "-t", "0", &name]);
            let seen = async {
                loop {
                    if changes.recv().await == Ok(Change::Body(container.body.id)) {
                        break;
                    }
                }
            };
            tokio::time::timeout(Duration::from_secs(2), seen).await.is_ok()
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn a_daemon_that_hangs_is_given_up_and_comes_back() {
    behind_a_proxy(async |world, proxy| {
        let mut changes = world.backend.changes();
        proxy.block(true);
        let begin = Instant::now();
        let error = world.backend.inspect(&container_ref("web").body).await.unwrap_err();
        assert_eq!(error.reason, Reason::Unreachable);
        assert!(begin.elapsed() < Duration::from_secs(12));
        until("the host is down", async || !world.host_is_up()).await;
        announced(&mut changes, Change::Host(HOST.into())).await;
        fails_at_once(world).await;
        proxy.block(false);
        until("the host is up", async || world.host_is_up()).await;
        assert!(world.backend.inspect(&container_ref("web").body).await.is_ok());
    })
    .await;
}

#[tokio::test]
async fn a_restart_of_the_daemon_is_survived() {
    behind_a_proxy(async |world, proxy| {
        let container = world.running("web").await;
        let mut changes = world.backend.changes();
        proxy.stop().await;
        proxy.resume().await;
        announced(&mut changes, Change::Host(HOST.into())).await;
        until("calls work", async || world.backend.inspect(&container.body).await.is_ok()).await;
        assert_eq!(world.sh(&container, "echo alive").await.stdout, "alive\n");
    })
    .await;
}

#[tokio::test]
async fn a_host_that_was_never_up_is_no_reason_not_to_begin() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("docker.sock");
    World::run_at(&format!("endpoint: 'unix://{}'", socket.display()), async |world| {
        assert!(!world.host_is_up());
        let error = world.backend.inspect(&container_ref("web").body).await.unwrap_err();
        assert_eq!(error.reason, Reason::Unreachable);
        let _proxy = Proxy::start(Place::Socket(socket.clone()), Place::Socket(SOCKET.into())).await;
        until("the host is up", async || world.host_is_up()).await;
    })
    .await;
}
