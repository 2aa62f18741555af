//! Making and watching our objects.

use std::{fmt::Debug, time::Duration};

use berth::api::{DevServer, Template, Workspace};
use futures::{StreamExt, TryStreamExt};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams},
};
use serde_json::{Value, json};

use super::{Namespace, eventually};

/// How long a workspace may take in a test.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// Image of the test workspaces, made by hack/images.sh.
pub const IMAGE: &str = "berth-demo/workspace:bookworm";

/// Makes the Template `base` with the image of the tests.
pub async fn template(namespace: &Namespace) -> Template {
    template_with(namespace, "base", json!({"docker": {"image": IMAGE, "pullPolicy": "Never"}})).await
}

/// Makes a Template.
pub async fn template_with(namespace: &Namespace, name: &str, spec: Value) -> Template {
    let object = json!({"apiVersion": "berth.dev/v1alpha1", "kind": "Template", "metadata": {"name": name}, "spec": spec});
    let template: Template = serde_json::from_value(object).expect("it is no Template");
    namespace
        .api::<Template>()
        .create(&PostParams::default(), &template)
        .await
        .expect("the Template is refused")
}

/// Makes a Workspace.
pub async fn workspace(namespace: &Namespace, name: &str, spec: Value) -> Workspace {
    let object = json!({"apiVersion": "berth.dev/v1alpha1", "kind": "Workspace", "metadata": {"name": name}, "spec": spec});
    let workspace: Workspace = serde_json::from_value(object).expect("it is no Workspace");
    namespace
        .api::<Workspace>()
        .create(&PostParams::default(), &workspace)
        .await
        .expect("the Workspace is refused")
}

/// Makes a Secret of string values.
pub async fn secret(namespace: &Namespace, name: &str, data: Value) {
    use k8s_openapi::api::core::v1::Secret;
    let object =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data});
    let secret: Secret = serde_json::from_value(object).expect("it is no Secret");
    namespace.api::<Secret>().create(&PostParams::default(), &secret).await.expect("the Secret is refused");
}

/// Changes a Workspace by a merge patch, as a user would.
pub async fn patch(namespace: &Namespace, name: &str, change: Value) -> Workspace {
    let api: Api<Workspace> = namespace.api();
    api.patch(name, &PatchParams::default(), &Patch::Merge(&change)).await.expect("the patch is refused")
}

/// Deletes a Workspace and does not wait.
pub async fn delete(namespace: &Namespace, name: &str) {
    namespace.api::<Workspace>().delete(name, &DeleteParams::default()).await.expect("it can not be deleted");
}

/// Waits until a Workspace is as the condition says.
pub async fn until(
    namespace: &Namespace,
    name: &str,
    what: &str,
    holds: impl Fn(&Workspace) -> bool,
) -> Workspace {
    until_within(PATIENCE, namespace, name, what, holds).await
}

async fn until_within(
    limit: Duration,
    namespace: &Namespace,
    name: &str,
    what: &str,
    holds: impl Fn(&Workspace) -> bool,
) -> Workspace {
    let api: Api<Workspace> = namespace.api();
    eventually(limit, &format!("{name} is {what}"), || async {
        let found = api.get(name).await.map_err(|error| Seen(error.to_string()))?;
        if holds(&found) { Ok(found) } else { Err(Seen(describe(&found))) }
    })
    .await
}

/// Waits until a Workspace is Ready, for the present spec.
pub async fn ready(namespace: &Namespace, name: &str) -> Workspace {
    ready_within(PATIENCE, namespace, name).await
}

/// The same for one of many, all of which boot a whole system at once.
pub async fn ready_among_many(namespace: &Namespace, name: &str) -> Workspace {
    ready_within(PATIENCE * 3, namespace, name).await
}

async fn ready_within(limit: Duration, namespace: &Namespace, name: &str) -> Workspace {
    until_within(limit, namespace, name, "Ready", |workspace| {
        let status = workspace.status.clone().unwrap_or_default();
        status.observed_generation == workspace.metadata.generation
            && condition(workspace, "Ready").starts_with("True")
    })
    .await
}

/// Waits until a Workspace is not Ready for this reason.
pub async fn broken(namespace: &Namespace, name: &str, reason: &str) -> Workspace {
    let wanted = format!("False {reason}:");
    until(namespace, name, &format!("broken by {reason}"), |workspace| {
        condition(workspace, "Ready").starts_with(&wanted)
    })
    .await
}

/// Waits until a Workspace is in a phase.
pub async fn phase(namespace: &Namespace, name: &str, phase: &str) -> Workspace {
    until(namespace, name, phase, |workspace| {
        workspace.status.as_ref().and_then(|status| status.phase.as_deref()) == Some(phase)
    })
    .await
}

/// Waits for the moment at which a Workspace is as the condition says, from a watch.
pub async fn moment<F: Fn(&Workspace) -> bool>(
    namespace: &Namespace,
    name: &str,
    holds: F,
) -> impl Future<Output = ()> + use<F> {
    let api: Api<Workspace> = namespace.api();
    let parameters = WatchParams::default().fields(&format!("metadata.name={name}"));
    let events = api.watch(&parameters, "0").await.expect("no watch").boxed();
    async move {
        let mut found = events.try_filter(|event| {
            let now =
                matches!(event, WatchEvent::Added(object) | WatchEvent::Modified(object) if holds(object));
            std::future::ready(now)
        });
        let found = tokio::time::timeout(PATIENCE, found.next()).await.expect("the moment does not come");
        found.expect("the watch ended").expect("the watch failed");
    }
}

/// The step that the status names.
pub fn step_of(workspace: &Workspace) -> Option<&str> {
    workspace.status.as_ref()?.step.as_deref()
}

/// The phase that the status names.
pub fn phase_of(workspace: &Workspace) -> Option<&str> {
    workspace.status.as_ref()?.phase.as_deref()
}

/// The id that the status names.
pub fn id_of(workspace: &Workspace) -> Option<String> {
    workspace.status.clone()?.id
}

/// Wipes the status, as a restored backup without it does.
pub async fn lose_status(namespace: &Namespace, name: &str) {
    let api: Api<Workspace> = namespace.api();
    let nothing = Patch::Merge(json!({"status": null}));
    let left = api.patch_status(name, &PatchParams::default(), &nothing).await.expect("the patch is refused");
    assert!(left.status.is_none(), "{}", describe(&left));
}

/// Waits until a Workspace is gone from the API server.
pub async fn gone(namespace: &Namespace, name: &str) {
    let api: Api<Workspace> = namespace.api();
    eventually(PATIENCE, &format!("{name} is gone"), || async {
        match api.get_opt(name).await.map_err(|error| Seen(error.to_string()))? {
            None => Ok(()),
            Some(found) => Err(Seen(describe(&found))),
        }
    })
    .await;
}

/// A condition as `Status Reason: message`; empty when it is absent.
pub fn condition(workspace: &Workspace, type_: &str) -> String {
    let conditions = workspace.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let found = conditions.iter().find(|condition| condition.type_ == type_);
    found.map(|one| format!("{} {}: {}", one.status, one.reason, one.message)).unwrap_or_default()
}

/// A Workspace in a few lines.
pub fn describe(workspace: &Workspace) -> String {
    let status = serde_json::to_string_pretty(&workspace.status).unwrap_or_default();
    format!("{} generation {:?}\n{status}", workspace.name_any(), workspace.metadata.generation)
}

/// Text that is shown as it is.
pub struct Seen(pub String);

impl Debug for Seen {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Makes a DevServer.
pub async fn devserver(namespace: &Namespace, name: &str, spec: Value) -> DevServer {
    let object = json!({"apiVersion": "berth.dev/v1alpha1", "kind": "DevServer", "metadata": {"name": name}, "spec": spec});
    let devserver: DevServer = serde_json::from_value(object).expect("it is no DevServer");
    namespace
        .api::<DevServer>()
        .create(&PostParams::default(), &devserver)
        .await
        .expect("the DevServer is refused")
}

/// Changes a DevServer by a merge patch, as a user would.
pub async fn devserver_patch(namespace: &Namespace, name: &str, change: Value) {
    let api: Api<DevServer> = namespace.api();
    api.patch(name, &PatchParams::default(), &Patch::Merge(&change)).await.expect("the patch is refused");
}

/// Waits until a DevServer is as described.
pub async fn devserver_until(
    namespace: &Namespace,
    name: &str,
    what: &str,
    holds: impl Fn(&DevServer) -> bool,
) -> DevServer {
    let api: Api<DevServer> = namespace.api();
    eventually(PATIENCE, &format!("DevServer {name} is {what}"), || async {
        let found = api.get(name).await.map_err(|error| Seen(error.to_string()))?;
        let seen = || Seen(serde_json::to_string_pretty(&found.status).unwrap_or_default());
        if holds(&found) { Ok(found) } else { Err(seen()) }
    })
    .await
}

/// Waits until a DevServer is Ready.
pub async fn devserver_ready(namespace: &Namespace, name: &str) -> DevServer {
    devserver_until(namespace, name, "Ready", |devserver| {
        devserver_condition(devserver, "Ready").starts_with("True")
    })
    .await
}

/// A condition of a DevServer in one line: status, reason and message.
pub fn devserver_condition(devserver: &DevServer, type_: &str) -> String {
    let conditions = devserver.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let found = conditions.iter().find(|condition| condition.type_ == type_);
    found.map(|one| format!("{} {}: {}", one.status, one.reason, one.message)).unwrap_or_default()
}
