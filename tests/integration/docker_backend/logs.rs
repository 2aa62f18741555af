//! What the processes of a container printed.

use std::time::Duration;

use berth::backend::{ContainerRef, ExecRequest, LogRequest, Reason};
use futures::StreamExt;

use super::world::{PATIENCE, World, container_ref};

fn wanted() -> LogRequest {
    LogRequest { tail: 100, since: None, follow: false, timestamps: false }
}

/// Has the main process print something, as far as Docker can tell.
async fn print(world: &World, container: &ContainerRef, script: &str) {
    let request = ExecRequest::script("root", &format!("{{ {script}; }} > /proc/1/fd/1 2> /proc/1/fd/2"));
    let output = world.guest(container).await.run(request).await.unwrap();
    assert_eq!(output.exit_code, 0, "{output:?}");
}

async fn read(world: &World, container: &ContainerRef, request: LogRequest) -> String {
    let parts = world.backend.logs(container, &request).await.unwrap();
    let parts: Vec<_> = parts.map(|part| part.unwrap()).collect().await;
    String::from_utf8(parts.concat()).unwrap()
}

#[tokio::test]
async fn a_log_is_read_while_the_container_runs_and_after() {
    World::run(async |world| {
        let container = world.running("web").await;
        print(world, &container, "echo one; echo two >&2; echo three").await;
        let all = read(world, &container, wanted()).await;
        assert_eq!(all.lines().filter(|line| ["one", "two", "three"].contains(line)).count(), 3, "{all}");
        let last = LogRequest { tail: 1, ..wanted() };
        assert_eq!(read(world, &container, last.clone()).await.lines().count(), 1);
        let stamped = read(world, &container, LogRequest { timestamps: true, ..last }).await;
        let (time, _) = stamped.split_once(' ').unwrap();
        assert!(time.parse::<jiff::Timestamp>().is_ok(), "{stamped}");
        world.backend.stop(&container, Duration::from_secs(1)).await.unwrap();
        assert!(read(world, &container, wanted()).await.contains("three"));
    })
    .await;
}

#[tokio::test]
async fn a_log_that_is_followed_goes_on_until_the_container_ends() {
    World::run(async |world| {
        let container = world.running("web").await;
        let request = LogRequest { follow: true, ..wanted() };
        let mut parts = world.backend.logs(&container, &request).await.unwrap();
        print(world, &container, "echo later").await;
        let mut seen = Vec::new();
        let look = async {
            while !String::from_utf8_lossy(&seen).contains("later") {
                seen.extend_from_slice(&parts.next().await.unwrap().unwrap());
            }
            world.backend.stop(&container, Duration::ZERO).await.unwrap();
            while let Some(part) = parts.next().await {
                part.unwrap();
            }
        };
        tokio::time::timeout(PATIENCE, look).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn what_is_not_there_has_no_log() {
    World::run(async |world| {
        let refused = world.backend.logs(&container_ref("nobody"), &wanted()).await.err().unwrap();
        assert_eq!(refused.reason, Reason::NotFound);
    })
    .await;
}
