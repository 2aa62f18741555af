//! The life of a Template that is built, on hosts in memory and with the operator's work inside
//! this process: where it is killed, its work is dropped wherever it happens to be.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use berth::{
    api::{Template, condition},
    backend::{
        Backends, InstanceId,
        memory::{MemoryBackend, MemoryWorld},
    },
    config::{Config, GoDuration, MemoryBackend as MemoryConfig},
    controller::leader::{self, Resources},
    metrics::Metrics,
};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::support::{Namespace, Settings, control_plane, eventually, objects::*};

const HOST: &str = "memory";
/// How long a call takes at least: long enough for a step to be seen.
const DELAY: Duration = Duration::from_millis(20);

struct Scene {
    world: Arc<MemoryWorld>,
    namespace: Namespace,
    config: Arc<Config>,
    instance: InstanceId,
    leader: Option<AbortOnDropHandle<()>>,
}

impl Scene {
    async fn open() -> Self {
        let plane = control_plane().await;
        let namespace = plane.namespace("template").await;
        let backends = json!([{"name": HOST, "memory": {"hosts": [HOST]}}]);
        let mut told = Settings::new(plane.kubeconfig(), &namespace.name, backends);
        told.config["timeouts"] = json!({"deletion": "2s"});
        told.config["orphans"] = json!({"interval": "1s"});
        let mut scene = Self {
            world: MemoryWorld::new(&[HOST.to_owned()]),
            namespace,
            config: Arc::new(serde_json::from_value(told.config).expect("it is no configuration")),
            instance: InstanceId(told.instance),
            leader: None,
        };
        scene.lead();
        scene
    }

    fn lead(&mut self) {
        let delays = MemoryConfig { delay: GoDuration(DELAY), ..MemoryConfig::default() };
        let backend = MemoryBackend::on(Arc::clone(&self.world), &delays, self.instance.clone());
        let resources = Resources {
            delivery: None,
            gateway: None,
            leadership: tokio::sync::watch::Sender::new(None),
            address: None,
            client: self.namespace.client.clone(),
            config: Arc::clone(&self.config),
            backends: Backends::from([(HOST.to_owned(), backend as _)]),
            ca_bundles: BTreeMap::new(),
            metrics: Arc::new(Metrics::new().expect("no metrics")),
            identity: "template".to_owned(),
        };
        let work = leader::run(resources, CancellationToken::new());
        self.leader = Some(AbortOnDropHandle::new(tokio::spawn(work)));
    }

    async fn kill(&mut self) {
        if let Some(leader) = self.leader.take() {
            leader.abort();
            let _ = leader.await;
        }
    }

    fn api(&self) -> Api<Template> {
        self.namespace.api()
    }

    async fn make(&self, proxmox: Value) {
        template_with(&self.namespace, "built", json!({ "proxmox": proxmox })).await;
    }

    async fn change(&self, change: Value) {
        self.api().patch("built", &PatchParams::default(), &Patch::Merge(&change)).await.expect("no patch");
    }

    async fn until(&self, what: &str, holds: impl Fn(&Template) -> bool) -> Template {
        let api = self.api();
        eventually(PATIENCE, &format!("the Template is {what}"), || async {
            let found = api.get("built").await.map_err(|error| error.to_string())?;
            if holds(&found) { Ok(found) } else { Err(format!("{:#?}", found.status)) }
        })
        .await
    }

    async fn phase(&self, phase: &str) -> Template {
        self.until(phase, |found| {
            let status = found.status.clone().unwrap_or_default();
            status.phase.as_deref() == Some(phase) && status.observed_generation == found.metadata.generation
        })
        .await
    }

    async fn delete(&self) {
        let api = self.api();
        api.delete("built", &DeleteParams::default()).await.expect("it can not be deleted");
        eventually(PATIENCE, "the Template is gone", || async {
            match api.get_opt("built").await {
                Ok(None) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    }
}

fn condition_of(template: &Template, type_: &str) -> String {
    let status = template.status.clone().unwrap_or_default();
    let found = status.conditions.into_iter().find(|one| one.type_ == type_);
    found.map(|one| format!("{} {}", one.status, one.reason)).unwrap_or_default()
}

fn number(template: &Template) -> Option<u32> {
    template.status.as_ref()?.proxmox.as_ref()?.vmid
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_is_built_once_however_often_the_operator_is_killed() {
    let mut scene = Scene::open().await;
    scene.make(json!({"osTemplate": "debian-12-standard"})).await;
    for step in ["CreatingContainer", "Provisioning", "Converting"] {
        scene
            .until(step, |found| {
                let status = found.status.clone().unwrap_or_default();
                status.step.as_deref() == Some(step) || status.phase.as_deref() == Some("Ready")
            })
            .await;
        scene.kill().await;
        scene.lead();
    }
    let built = scene.phase("Ready").await;
    assert_eq!(number(&built), Some(9000));
    assert_eq!(condition_of(&built, condition::UP_TO_DATE), "True Built");
    assert_eq!(scene.world.containers_ever_made(), 1);
    scene.delete().await;
    assert!(scene.world.items().is_empty(), "{:?}", scene.world.items());
}

#[tokio::test(flavor = "multi_thread")]
async fn staging_waits_for_people_and_a_later_spec_is_not_built_by_itself() {
    let scene = Scene::open().await;
    scene.make(json!({"osTemplate": "debian-12-standard", "staging": true})).await;
    let staged = scene.phase("Staging").await;
    assert_eq!(staged.status.unwrap().staging_ip.as_deref(), Some("10.210.0.2"));
    scene.change(json!({"spec": {"proxmox": {"staging": false}}})).await;
    let built = scene.phase("Ready").await;
    assert_eq!(condition_of(&built, condition::UP_TO_DATE), "True Built");
    scene.change(json!({"spec": {"proxmox": {"packages": ["jq"]}}})).await;
    let later = scene
        .until("of an older spec", |found| condition_of(found, condition::UP_TO_DATE) == "False SpecChanged")
        .await;
    assert_eq!(condition_of(&later, condition::READY), "True Usable");
    assert_eq!(scene.world.containers_ever_made(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_for_good_is_removed_and_tried_again_when_asked_to() {
    let scene = Scene::open().await;
    scene.make(json!({"osTemplate": "debian-12-standard", "packages": ["missing"]})).await;
    let removed = |found: &Template| {
        let status = found.status.clone().unwrap_or_default();
        status.phase.as_deref() == Some("Failed") && status.proxmox.is_none()
    };
    let failed = scene.until("failed and removed", removed).await;
    assert_eq!(condition_of(&failed, condition::STALLED), "True PackageNotFound");
    assert!(scene.world.items().is_empty(), "{:?}", scene.world.items());
    scene.change(json!({"metadata": {"annotations": {"berth.dev/retry-nonce": "1"}}})).await;
    let nonce = |found: &Template| found.status.clone().unwrap_or_default().observed_retry_nonce;
    scene.until("tried again", |found| removed(found) && nonce(found).as_deref() == Some("1")).await;
    assert_eq!(scene.world.containers_ever_made(), 2);
    scene.change(json!({"spec": {"proxmox": {"packages": ["jq"]}}})).await;
    scene.phase("Ready").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_ends_although_the_backend_is_away_and_what_is_left_is_removed_later() {
    let scene = Scene::open().await;
    scene.make(json!({"osTemplate": "debian-12-standard"})).await;
    scene.phase("Ready").await;
    scene.world.set_host_down(HOST, true);
    scene.delete().await;
    assert!(!scene.world.items().is_empty());
    scene.world.set_host_down(HOST, false);
    eventually(PATIENCE, "the template is removed", || async {
        let left = scene.world.items();
        if left.is_empty() { Ok(()) } else { Err(left) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_is_found_again_when_its_status_is_lost() {
    let mut scene = Scene::open().await;
    scene.make(json!({"osTemplate": "debian-12-standard"})).await;
    let built = scene.phase("Ready").await;
    scene.kill().await;
    let nothing = Patch::Merge(json!({"status": null}));
    scene.api().patch_status("built", &PatchParams::default(), &nothing).await.expect("no patch");
    scene.lead();
    let again = scene.phase("Ready").await;
    assert_eq!(number(&again), number(&built));
    assert_eq!(scene.world.containers_ever_made(), 1);
}
