//! The rules of a host, kept by the one in memory.

use std::{sync::Arc, time::Duration};

use super::*;
use crate::backend::{BodyId, Incarnation, JobRequest, JobState, RunState};

fn config(fault_rate: f64) -> config::MemoryBackend {
    config::MemoryBackend { fault_rate, seed: 7, ..Default::default() }
}

fn instance() -> InstanceId {
    InstanceId("test".into())
}

fn body(id: BodyId, name: &str) -> BodyRef {
    let owner = Owner { namespace: "ns".into(), name: name.into(), uid: format!("uid-{name}") };
    BodyRef { host: "memory".into(), id, owner, known: Default::default() }
}

fn spec(incarnation: u32) -> ContainerSpec {
    ContainerSpec {
        incarnation: Incarnation(incarnation),
        image: "i".into(),
        user: "dev".into(),
        hostname: "h".into(),
        cpu_millis: 1000,
        memory_bytes: 1 << 30,
        pids: 100,
        dns_servers: Vec::new(),
        infrastructure: Default::default(),
    }
}

fn job(name: &str) -> JobRequest {
    JobRequest { name: name.into(), script: String::new(), user: "dev".into(), env: Default::default() }
}

async fn running(backend: &Arc<MemoryBackend>, name: &str) -> ContainerRef {
    let body = body(BodyId::random(), name);
    backend.create(&body, &spec(1), &Default::default()).await.unwrap();
    let container = ContainerRef { body, incarnation: Incarnation(1) };
    backend.start(&container).await.unwrap();
    container
}

#[tokio::test]
async fn a_second_creation_makes_no_second_container() {
    let backend = MemoryBackend::new(&config(0.0), instance());
    let body = body(BodyId::random(), "a");
    for _ in 0..2 {
        backend.create(&body, &spec(1), &Default::default()).await.unwrap();
    }
    assert_eq!(backend.inspect(&body).await.unwrap().containers.len(), 1);
    assert_eq!(backend.world().containers_ever_made(), 1);
    assert!(backend.world().duplicates().is_empty());
}

#[tokio::test]
async fn two_containers_of_one_owner_are_noticed() {
    let backend = MemoryBackend::new(&config(0.0), instance());
    for _ in 0..2 {
        backend.create(&body(BodyId::random(), "a"), &spec(1), &Default::default()).await.unwrap();
    }
    assert_eq!(backend.world().duplicates(), ["ns/a"]);
}

#[tokio::test]
async fn nobody_touches_what_belongs_to_another() {
    let backend = MemoryBackend::new(&config(0.0), instance());
    let container = running(&backend, "a").await;
    let stranger = ContainerRef {
        body: BodyRef { owner: body(container.body.id, "b").owner, ..container.body.clone() },
        ..container.clone()
    };
    assert_eq!(backend.stop(&stranger, Duration::ZERO).await.unwrap_err().reason, Reason::NotOwned);
    assert_eq!(backend.remove(&stranger.body, false).await.unwrap_err().reason, Reason::NotOwned);
    let other = MemoryBackend::on(Arc::clone(backend.world()), &config(0.0), InstanceId("other".into()));
    assert!(other.list("memory").await.unwrap().is_empty());
    assert_eq!(other.inspect(&container.body).await.unwrap_err().reason, Reason::Conflict);
}

#[tokio::test]
async fn faults_repeat_and_some_take_effect() {
    let mut outcomes = Vec::new();
    for _ in 0..2 {
        let backend = MemoryBackend::new(&config(0.5), instance());
        let mut results = Vec::new();
        for _ in 0..64 {
            let body = body(BodyId::from_bytes([results.len() as u8; 8]), &format!("w{}", results.len()));
            results.push(backend.create(&body, &spec(1), &Default::default()).await.is_ok());
        }
        let succeeded = results.iter().filter(|ok| **ok).count() as u64;
        assert!(backend.world().containers_ever_made() > succeeded, "no lost answer took effect");
        assert!(backend.world().containers_ever_made() < 64, "every failure took effect");
        outcomes.push(results);
    }
    assert_eq!(outcomes[0], outcomes[1]);
}

#[tokio::test]
async fn a_host_that_is_down_answers_nothing_and_says_so() {
    let backend = MemoryBackend::new(&config(0.0), instance());
    let container = running(&backend, "a").await;
    let mut changes = backend.changes();
    backend.world().set_host_down("memory", true);
    assert_eq!(changes.recv().await.unwrap(), Change::Host("memory".into()));
    assert_eq!(backend.inspect(&container.body).await.unwrap_err().reason, Reason::Unreachable);
    assert!(backend.hosts()[0].unreachable.is_some());
    backend.world().set_host_down("memory", false);
    assert_eq!(backend.inspect(&container.body).await.unwrap().containers[0].state, RunState::Running);
}

#[tokio::test]
async fn jobs_die_with_the_boot_that_they_were_started_in() {
    let backend = MemoryBackend::new(&config(0.0), instance());
    let container = running(&backend, "a").await;
    let guest = backend.guest(&container).await.unwrap();
    guest.start_job(job("clone-1")).await.unwrap();
    assert!(matches!(
        guest.look_at_job("clone-1", Duration::ZERO).await.unwrap(),
        JobState::Exited { code: 0, .. }
    ));
    backend.stop(&container, Duration::ZERO).await.unwrap();
    assert_eq!(guest.look_at_job("clone-1", Duration::ZERO).await.unwrap_err().reason, Reason::NotRunning);
    backend.start(&container).await.unwrap();
    assert_eq!(guest.look_at_job("clone-1", Duration::ZERO).await.unwrap(), JobState::Missing);
}

#[tokio::test]
async fn a_body_is_found_again_by_its_owner_alone() {
    let backend = MemoryBackend::new(&config(0.0), instance());
    let container = running(&backend, "a").await;
    let found = backend.find(&container.body.owner).await.unwrap();
    assert_eq!(found, [Found { body: container.body.clone(), incarnation: Incarnation(1) }]);
    let reborn = Owner { uid: "another".into(), ..container.body.owner.clone() };
    assert!(backend.find(&reborn).await.unwrap().is_empty());
}

#[tokio::test]
async fn removal_leaves_nothing_or_the_volumes() {
    let backend = MemoryBackend::new(&config(0.0), instance());
    let (kept, gone) = (running(&backend, "a").await, running(&backend, "b").await);
    backend.remove(&kept.body, true).await.unwrap();
    backend.remove(&gone.body, false).await.unwrap();
    let left = backend.world().items();
    assert_eq!(left.len(), 2, "{left:?}");
    assert!(left.iter().all(|item| item.contains("volume") && item.contains(&kept.body.id.to_string())));
}
