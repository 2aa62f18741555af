//! A Workspace, its record and its container, for the tables of the tests.

use kube::runtime::reflector::ObjectRef;

use super::{
    power::{Power, PowerState},
    record::{Record, RecordedBody, ResolvedSpec},
    validate::{Desired, Subject},
};
use crate::{
    backend::{Body, Container, Incarnation, Owner, RunState},
    config::{Bytes, CpuMillis},
};

/// When the container started.
pub const BOOT: &str = "2026-01-01T00:00:00Z";

pub fn subject() -> Subject {
    Subject {
        owner: Owner { namespace: "ns".into(), name: "ws".into(), uid: "uid".into() },
        key: ObjectRef::new("ws").within("ns"),
        generation: 2,
        retry_nonce: None,
        has_finalizer: true,
        deletion: None,
    }
}

pub fn resolved() -> ResolvedSpec {
    ResolvedSpec {
        image: "i".into(),
        user: "dev".into(),
        cpu: CpuMillis(1000),
        memory: Bytes(1 << 30),
        pids: 100,
        disk: None,
    }
}

pub fn desired() -> Desired {
    Desired {
        subject: subject(),
        mode: Default::default(),
        restart_nonce: None,
        backend: "docker".into(),
        pinned_host: None,
        resolved: resolved(),
        template: None,
        repository: None,
        git: Default::default(),
        env: Vec::new(),
        dns_servers: Vec::new(),
        infrastructure: Default::default(),
        provision_timeout: std::time::Duration::from_secs(600),
    }
}

/// A command of Ada's.
pub fn power(state: PowerState) -> Power {
    let at = BOOT.parse().unwrap();
    Power { state, reason: "Requested".into(), by: "ada".into(), at, generation: 2 }
}

pub fn recorded(incarnation: u32) -> Record {
    Record {
        body: Some(RecordedBody {
            id: "0011223344556677".parse().unwrap(),
            incarnation: Incarnation(incarnation),
            backend: "docker".into(),
            host: "local".into(),
            number: None,
            resolved: resolved(),
            template: None,
        }),
        ..Default::default()
    }
}

pub fn container(state: RunState) -> Container {
    Container {
        id: "0123456789abcdef".into(),
        name: "berth-ns.ws-0011223344556677-1".into(),
        incarnation: Incarnation(1),
        state,
        exit_code: None,
        out_of_memory: false,
        ip: Some("10.210.0.2".parse().unwrap()),
        started_at: Some(BOOT.into()),
        running_for: None,
        has_tun: false,
        disk_bytes: None,
    }
}

pub fn there(containers: Vec<Container>) -> super::plan::Observed {
    super::plan::Observed::Body(Body {
        containers,
        network: true,
        volumes: vec!["v".into()],
        unfinished: false,
    })
}
