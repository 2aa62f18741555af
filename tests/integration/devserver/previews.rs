//! Previews: addresses, passwords, ends and limits.

use k8s_openapi::api::{core::v1::Service, networking::v1::Ingress};
use kube::ResourceExt;
use serde_json::json;

use super::*;
use crate::support::objects::secret;

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_has_one_address_for_ever() {
    let world = World::new().await;
    let leader = world.lead().await;
    let id = world.workspace("ws").await;
    world.devserver("web", json!({"port": 3000})).await;
    leader.until_processes_are(id, &["web"]).await;
    leader.tells(id, vec![running("web")]);
    let well = world.until_ready_is("web", "True Running").await;
    let made = host(&well).unwrap();
    assert!(made.starts_with("web-ws-") && made.len() == "web-ws-".len() + 16, "{made}");
    let url = well.status.as_ref().unwrap().preview.as_ref().unwrap().url.clone().unwrap();
    assert_eq!(url, format!("https://{made}.preview.test/"));
    assert!(condition(&well, "PreviewReady").starts_with("True Published"));

    world.change("web", json!({"spec": {"preview": {"enabled": false}}})).await;
    let off =
        world.until("web", "without a preview", |found| condition(found, "PreviewReady").is_empty()).await;
    assert_eq!(host(&off).as_ref(), Some(&made));
    assert_eq!(off.status.unwrap().preview.unwrap().url, None);
    world.change("web", json!({"spec": {"preview": {"enabled": true}, "port": 3001}})).await;
    let on = world
        .until("web", "published", |found| {
            condition(found, "PreviewReady").starts_with("True") && is_observed(found)
        })
        .await;
    assert_eq!(host(&on), Some(made));
    world.namespace.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_told_to_the_gateways_as_a_hash() {
    let world = World::new().await;
    let leader = world.lead().await;
    let id = world.workspace("ws").await;
    let preview = json!({"access": "Password", "passwordSecretRef": {"name": "preview"}});
    world.devserver("web", json!({"port": 3000, "preview": preview})).await;
    leader.until_processes_are(id, &["web"]).await;
    leader.tells(id, vec![running("web")]);
    let missing = world.until_ready_is("web", "False PasswordMissing").await;
    assert!(condition(&missing, "PreviewReady").contains("does not exist"), "{missing:#?}");
    assert!(condition(&missing, "ProcessRunning").starts_with("True"));
    secret(&world.namespace, "preview", json!({"password": "open sesame\n"})).await;
    let well = world.until_ready_is("web", "True Running").await;
    let name = host(&well).unwrap();
    let wanted =
        leader.until_wanted("the password is told", |wanted| wanted.passwords.contains_key(&name)).await;
    assert!(bcrypt::verify("open sesame", &wanted.passwords[&name]).unwrap());

    // Later looks do not make another hash of the same password. The second is only begun when the
    // first has ended.
    for command in ["npm start", "npm run dev"] {
        world.change("web", json!({"spec": {"command": command}})).await;
        world.until("web", "looked at", is_observed).await;
    }
    assert_eq!(leader.context.agents.wanted().borrow().passwords, wanted.passwords);

    world.remove("web").await;
    leader.until_wanted("the password is forgotten", |wanted| wanted.passwords.is_empty()).await;
    world.namespace.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_ends_and_takes_its_process_with_it() {
    let world = World::new().await;
    let leader = world.lead().await;
    let id = world.workspace("ws").await;
    world.devserver("web", json!({"port": 3000, "preview": {"lifetime": "1h"}})).await;
    leader.until_processes_are(id, &["web"]).await;
    leader.tells(id, vec![running("web")]);
    let well = world.until_ready_is("web", "True Running").await;
    let preview = well.status.unwrap().preview.unwrap();
    let (since, ends) = (preview.created_at.unwrap().0, preview.expires_at.unwrap().0);
    assert_eq!(ends.duration_since(since).as_secs(), 3600);

    // Two hours pass.
    let earlier = since - jiff::SignedDuration::from_hours(2);
    let passed = json!({"status": {"preview": {"createdAt": earlier}}});
    let parameters = PatchParams::default();
    world.api().patch_status("web", &parameters, &Patch::Merge(&passed)).await.unwrap();
    let over = world.until_ready_is("web", "False Expired").await;
    assert_eq!(phase(&over), "Expired");
    assert_eq!(over.status.unwrap().preview.unwrap().url, None);
    leader
        .until_wanted("the process is not to run", |wanted| {
            wanted.processes.get(&id).is_some_and(|all| !all.processes[0].run)
        })
        .await;

    world.change("web", json!({"spec": {"preview": {"lifetime": "3h"}}})).await;
    leader
        .until_wanted("the process is to run again", |wanted| {
            wanted.processes.get(&id).is_some_and(|all| all.processes[0].run)
        })
        .await;
    world.namespace.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ingress_comes_and_goes_with_its_preview() {
    let mut world = World::new().await;
    world.preview = json!({
        "domain": "preview.test",
        "gateway": {"name": "gateway", "namespace": "edge", "port": 8480},
        "ingress": {"className": "nginx"},
    });
    let leader = world.lead().await;
    let id = world.workspace("ws").await;
    world.devserver("web", json!({"port": 3000})).await;
    leader.until_processes_are(id, &["web"]).await;
    leader.tells(id, vec![running("web")]);
    let well = world.until_ready_is("web", "True Running").await;
    let name = host(&well).unwrap();
    let ingresses: Api<Ingress> = world.namespace.api();
    let services: Api<Service> = world.namespace.api();
    let ingress = eventually(PATIENCE, "there is an Ingress", || async {
        ingresses.get_opt(&name).await.unwrap().ok_or(())
    })
    .await;
    let spec = serde_json::to_value(&ingress.spec).unwrap();
    assert_eq!(spec["rules"][0]["host"], format!("{name}.preview.test"));
    assert_eq!(ingress.owner_references()[0].uid, well.uid().unwrap());
    let service = services.get(&name).await.unwrap().spec.unwrap();
    assert_eq!(service.external_name.as_deref(), Some("gateway.edge.svc.cluster.local"));

    world.change("web", json!({"spec": {"preview": {"enabled": false}}})).await;
    eventually(PATIENCE, "both are gone", || async {
        let left = (ingresses.get_opt(&name).await.unwrap(), services.get_opt(&name).await.unwrap());
        if left == (None, None) { Ok(()) } else { Err(left) }
    })
    .await;
    world.namespace.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_of_a_kind_that_the_cluster_does_not_know_is_said() {
    let mut world = World::new().await;
    world.preview = json!({
        "domain": "preview.test",
        "gateway": {"name": "gateway", "namespace": "edge", "port": 8480},
        "httpRoute": {"parentRef": {"name": "public"}},
    });
    let leader = world.lead().await;
    let id = world.workspace("ws").await;
    world.devserver("web", json!({"port": 3000})).await;
    leader.until_processes_are(id, &["web"]).await;
    leader.tells(id, vec![running("web")]);
    let failed = world.until_ready_is("web", "False RouteFailed").await;
    assert!(condition(&failed, "PreviewReady").contains("its HTTPRoute"), "{failed:#?}");
    assert!(condition(&failed, "ProcessRunning").starts_with("True"));
    world.namespace.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn there_are_only_so_many_previews() {
    let mut world = World::new().await;
    world.preview = json!({"domain": "preview.test", "maxPerWorkspace": 1});
    let leader = world.lead().await;
    let id = world.workspace("ws").await;
    world.devserver("a", json!({"port": 3000})).await;
    world.devserver("b", json!({"port": 3001})).await;
    leader.until_processes_are(id, &["a", "b"]).await;
    leader.tells(id, vec![running("a"), running("b")]);
    world.until_ready_is("a", "True Running").await;
    let full = world.until_ready_is("b", "False QuotaExceeded").await;
    assert_eq!((host(&full), phase(&full)), (None, "Running"));
    world.namespace.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_domain_there_are_no_previews() {
    let mut world = World::new().await;
    world.preview = json!({});
    let leader = world.lead().await;
    let id = world.workspace("ws").await;
    world.devserver("web", json!({"port": 3000})).await;
    leader.until_processes_are(id, &["web"]).await;
    leader.tells(id, vec![running("web")]);
    let well = world.until_ready_is("web", "True Running").await;
    assert!(condition(&well, "PreviewReady").starts_with("False PreviewsDisabled"));
    assert_eq!(host(&well), None);
    world.change("web", json!({"spec": {"preview": {"enabled": true}}})).await;
    world.until_ready_is("web", "False PreviewsDisabled").await;
    world.namespace.delete().await;
}
