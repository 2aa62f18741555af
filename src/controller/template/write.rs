//! Writing to the API server: the status, our finalizer, and events about what changed.

use std::sync::Arc;

use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::json;

use crate::{
    api::{self, Template, TemplatePhase, TemplateStatus, condition},
    controller::{
        events::{self, Notice},
        workspace::write::FIELD_MANAGER,
    },
};

use super::{pass::Pass, record::Record, validate::Subject};

impl Pass<'_> {
    /// Applies a status. One that names a new id, node, VMID, state or job is only taken by the API
    /// server if nothing else was written in between.
    pub(super) async fn write_status(
        &mut self,
        before: &TemplateStatus,
        after: TemplateStatus,
    ) -> Result<(), kube::Error> {
        let mut metadata = json!({"name": self.object.name_any(), "uid": self.object.uid()});
        if before.proxmox != after.proxmox || handle(before) != handle(&after) {
            metadata["resourceVersion"] = json!(self.object.resource_version());
        }
        let body = json!({
            "apiVersion": format!("{}/{}", api::GROUP, api::VERSION),
            "kind": "Template",
            "metadata": metadata,
            "status": after,
        });
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        let name = self.object.name_any();
        let written = self.api().patch_status(&name, &parameters, &Patch::Apply(&body)).await?;
        self.took(written);
        if let Some(notice) = notice(before, &after) {
            events::publish(&self.context.client, &self.context.identity, &*self.object, notice).await;
        }
        Ok(())
    }

    /// Puts our finalizer on the object or takes it off, if nothing else was written in between.
    pub(super) async fn set_finalizer(&mut self, present: bool) -> Result<(), kube::Error> {
        let mut finalizers: Vec<_> =
            self.object.finalizers().iter().filter(|name| *name != api::FINALIZER).cloned().collect();
        if present {
            finalizers.push(api::FINALIZER.to_owned());
        }
        let patch = json!({"metadata": {
            "resourceVersion": self.object.resource_version(),
            "finalizers": finalizers,
        }});
        let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..Default::default() };
        let written = self.api().patch(&self.object.name_any(), &parameters, &Patch::Merge(&patch)).await?;
        self.took(written);
        Ok(())
    }

    fn api(&self) -> Api<Template> {
        Api::namespaced(self.context.client.clone(), &self.subject.owner.namespace)
    }

    fn took(&mut self, written: Template) {
        let written = Arc::new(written);
        self.context.objects.wrote_template(Arc::clone(&written));
        self.subject = Subject::parse(&written);
        let said = Record::parse(written.status.as_ref());
        self.record.step = said.step;
        self.record.standing = said.standing;
        self.record.was_ready = said.was_ready;
        self.object = written;
        self.remember_body();
    }
}

fn handle(status: &TemplateStatus) -> Option<&str> {
    status.operation.as_ref().map(|operation| operation.handle.as_str())
}

/// The news in a change of status: a new failure, else a new phase.
fn notice(before: &TemplateStatus, after: &TemplateStatus) -> Option<Notice> {
    let ready = |status: &TemplateStatus| {
        let found = status.conditions.iter().find(|condition| condition.type_ == condition::READY);
        found.cloned()
    };
    let (known, news) = (ready(before), ready(after)?);
    let is_step = super::phase::Step::parse(&news.reason).is_some();
    let failed = news.status == "False" && !is_step && !["Staging", "Terminating"].contains(&&*news.reason);
    if failed {
        let same = known.is_some_and(|known| known.reason == news.reason);
        return (!same).then_some(Notice { warning: true, reason: news.reason, note: news.message });
    }
    let phase = after.phase.clone().filter(|phase| before.phase.as_ref() != Some(phase))?;
    // Templates of images are Ready at once, which is no news.
    after.proxmox.as_ref()?;
    let note = match after.proxmox.as_ref().and_then(|made| made.vmid) {
        Some(vmid) if phase == TemplatePhase::Ready.as_str() => format!("the Template is Ready as CT {vmid}"),
        _ if news.message.is_empty() => format!("the Template is {phase}"),
        _ => news.message,
    };
    Some(Notice { warning: false, reason: phase, note })
}
