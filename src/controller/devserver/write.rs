//! Writing to the API server: the status, the reference to the Workspace, and events about what
//! changed.

use kube::{
    Api, Resource, ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::json;

use crate::{
    api::{self, DevServer, DevServerStatus, Workspace, condition},
    controller::{
        context::Context,
        events::{self, Notice},
        workspace::write::FIELD_MANAGER,
    },
};

use super::phase::Phase;

/// Applies a status. One that names a new host is only taken by the API server if nothing else was
/// written in between: a name that was given out is never replaced.
pub async fn status(
    context: &Context,
    object: &DevServer,
    after: &DevServerStatus,
) -> Result<DevServer, kube::Error> {
    let before = object.status.clone().unwrap_or_default();
    let mut metadata = json!({"name": object.name_any(), "uid": object.uid()});
    if host(&before) != host(after) {
        metadata["resourceVersion"] = json!(object.resource_version());
    }
    let body = applied(metadata, json!({"status": after}));
    let parameters = PatchParams::apply(FIELD_MANAGER).force();
    let api: Api<DevServer> = home(context, object);
    let written = api.patch_status(&object.name_any(), &parameters, &Patch::Apply(&body)).await?;
    if let Some(notice) = notice(&before, after) {
        events::publish(&context.client, &context.identity, object, notice).await;
    }
    Ok(written)
}

/// Whether the DevServer says that it belongs to this Workspace.
pub fn is_owned(object: &DevServer, workspace: &Workspace) -> bool {
    object.owner_references().iter().any(|owner| Some(&owner.uid) == workspace.metadata.uid.as_ref())
}

/// Makes the DevServer belong to its Workspace, so that it is deleted with it. That deletion does
/// not wait for it.
pub async fn owner(
    context: &Context,
    object: &DevServer,
    workspace: &Workspace,
) -> Result<DevServer, kube::Error> {
    let metadata = json!({
        "name": object.name_any(),
        "uid": object.uid(),
        "ownerReferences": [{
            "apiVersion": Workspace::api_version(&()),
            "kind": Workspace::kind(&()),
            "name": workspace.name_any(),
            "uid": workspace.uid(),
            "controller": false,
            "blockOwnerDeletion": false,
        }],
    });
    let body = applied(metadata, json!({}));
    let parameters = PatchParams::apply(FIELD_MANAGER).force();
    home(context, object).patch(&object.name_any(), &parameters, &Patch::Apply(&body)).await
}

fn applied(metadata: serde_json::Value, mut body: serde_json::Value) -> serde_json::Value {
    body["apiVersion"] = json!(format!("{}/{}", api::GROUP, api::VERSION));
    body["kind"] = json!(DevServer::kind(&()));
    body["metadata"] = metadata;
    body
}

fn home(context: &Context, object: &DevServer) -> Api<DevServer> {
    Api::namespaced(context.client.clone(), &object.namespace().unwrap_or_default())
}

fn host(status: &DevServerStatus) -> Option<&str> {
    status.preview.as_ref()?.host.as_deref()
}

/// The news in a change of status: a new phase that people want to hear of.
fn notice(before: &DevServerStatus, after: &DevServerStatus) -> Option<Notice> {
    if before.phase == after.phase {
        return None;
    }
    let phase = Phase::parse(after.phase.as_deref()?)?;
    if matches!(phase, Phase::Pending | Phase::Starting) {
        return None;
    }
    let ready = after.conditions.iter().find(|one| one.type_ == condition::READY)?;
    let bad = matches!(phase, Phase::Failed | Phase::Restarting);
    let note = if ready.message.is_empty() {
        format!("the process is {}", phase.as_str())
    } else {
        ready.message.clone()
    };
    Some(Notice {
        warning: bad,
        reason: if bad { ready.reason.clone() } else { phase.as_str().to_owned() },
        note,
    })
}
