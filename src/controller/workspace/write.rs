//! Writing to the API server: the status, our finalizer, and events about what changed.

use std::{
    sync::{Arc, PoisonError},
    time::Instant,
};

use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::json;

use crate::{
    api::{self, Workspace, WorkspaceStatus, condition},
    controller::events::{self, Notice},
};

use super::{
    container_conditions,
    pass::Pass,
    phase::{Phase, Step},
    record::Record,
    validate::Subject,
};

/// Field manager of everything the operator writes.
pub const FIELD_MANAGER: &str = "berth";

impl Pass<'_> {
    /// Applies a status. One that names a new id, host, incarnation or job is only taken by the
    /// API server if nothing else was written in between: what a handle stands for must not be
    /// made on the word of an old state.
    pub(super) async fn write_status(
        &mut self,
        before: &WorkspaceStatus,
        after: WorkspaceStatus,
    ) -> Result<(), kube::Error> {
        let mut metadata = json!({"name": self.object.name_any(), "uid": self.object.uid()});
        if handles(before) != handles(&after) {
            metadata["resourceVersion"] = json!(self.object.resource_version());
        }
        let body = json!({
            "apiVersion": format!("{}/{}", api::GROUP, api::VERSION),
            "kind": "Workspace",
            "metadata": metadata,
            "status": after,
        });
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        let written =
            self.api().patch_status(&self.object.name_any(), &parameters, &Patch::Apply(&body)).await?;
        self.took(written);
        self.time_step(&after);
        let notices = notice(before, &after).into_iter().chain(agent_notice(before, &after));
        for notice in notices.chain(container_conditions::notices(before, &after)) {
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

    pub(super) fn api(&self) -> Api<Workspace> {
        Api::namespaced(self.context.client.clone(), &self.subject.owner.namespace)
    }

    fn took(&mut self, written: Workspace) {
        let written = Arc::new(written);
        self.context.objects.wrote(Arc::clone(&written));
        self.subject = Subject::parse(&written);
        let phase = Record::parse(written.status.as_ref());
        self.record.phase = phase.phase;
        self.record.step = phase.step;
        self.record.last_message = phase.last_message;
        self.object = written;
        self.remember_body();
    }

    /// Measures how long each step takes.
    fn time_step(&self, after: &WorkspaceStatus) {
        let Some(step) = after.step.as_deref().and_then(Step::parse) else { return };
        let settled = after.phase.as_deref().and_then(Phase::parse).is_some_and(|phase| {
            matches!(phase, Phase::Running | Phase::Suspended | Phase::Failed | Phase::Terminating)
        });
        let mut clock = self.context.step_clock.lock().unwrap_or_else(PoisonError::into_inner);
        let uid = self.uid().to_owned();
        match clock.get(&uid) {
            Some((running, _)) if *running == step && !settled => return,
            Some((running, since)) => self.context.metrics.step_took(running.as_str(), since.elapsed()),
            None => {}
        }
        if settled {
            clock.remove(&uid);
        } else {
            clock.insert(uid, (step, Instant::now()));
        }
    }
}

type Handles<'a> = (Option<&'a str>, Option<u32>, Option<&'a str>, Option<u32>, Option<&'a str>);

/// What ties the object to things outside: never written over a state that was not seen.
fn handles(status: &WorkspaceStatus) -> Handles<'_> {
    (
        status.id.as_deref(),
        status.incarnation,
        status.resolved.as_ref().and_then(|resolved| resolved.host.as_deref()),
        status.resolved.as_ref().and_then(|resolved| resolved.vmid),
        status.operation.as_ref().map(|operation| operation.handle.as_str()),
    )
}

/// The news in a change of status: a new failure, else a new phase.
fn notice(before: &WorkspaceStatus, after: &WorkspaceStatus) -> Option<Notice> {
    if let Some(error) = &after.error {
        let known = before.error.as_ref();
        if known.is_some_and(|known| known.reason == error.reason && known.step == error.step) {
            return None;
        }
        let hint = error.hint.as_deref().map(|hint| format!(" ({hint})")).unwrap_or_default();
        return Some(Notice {
            warning: true,
            reason: error.reason.clone(),
            note: format!("{}: {}{hint}", error.step, error.message),
        });
    }
    if before.phase == after.phase {
        return None;
    }
    let phase = after.phase.clone()?;
    let ready = after.conditions.iter().find(|condition| condition.type_ == condition::READY);
    let note = match (Phase::parse(&phase), ready) {
        (Some(Phase::Provisioning), _) => {
            let resolved = after.resolved.clone().unwrap_or_default();
            format!(
                "making container from image {} on {}/{}",
                resolved.image,
                resolved.backend,
                resolved.host.unwrap_or_default()
            )
        }
        (Some(Phase::Running), _) => "the workspace is Ready".to_owned(),
        (_, Some(ready)) if !ready.message.is_empty() => ready.message.clone(),
        _ => format!("the workspace is {phase}"),
    };
    Some(Notice { warning: phase == Phase::Degraded.as_str(), reason: phase, note })
}

/// That an update of the agent did not come up, once for each.
fn agent_notice(before: &WorkspaceStatus, after: &WorkspaceStatus) -> Option<Notice> {
    let failed = |status: &WorkspaceStatus| status.agent.as_ref()?.failed_update.clone();
    let news = failed(after).filter(|news| failed(before).is_none_or(|known| known.build != news.build))?;
    Some(Notice {
        warning: true,
        reason: "AgentUpdateFailed".to_owned(),
        note: format!(
            "the agent's update to build {} was given up, and the one before it goes on: {}",
            news.build, news.message
        ),
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::api::{AgentStatus, FailedUpdate};

    fn status(failed: Option<&str>) -> WorkspaceStatus {
        let failed_update =
            failed.map(|build| FailedUpdate { build: build.to_owned(), message: "Exec format error".into() });
        let agent = AgentStatus {
            version: "1".to_owned(),
            supervisor_version: None,
            build: Some("a".to_owned()),
            failed_update,
        };
        WorkspaceStatus { agent: Some(agent), ..WorkspaceStatus::default() }
    }

    #[rstest]
    #[case::none(None, None, false)]
    #[case::new(None, Some("b"), true)]
    #[case::known(Some("b"), Some("b"), false)]
    #[case::another(Some("b"), Some("c"), true)]
    #[case::over(Some("b"), None, false)]
    fn an_update_that_failed_is_told_once(
        #[case] before: Option<&str>,
        #[case] after: Option<&str>,
        #[case] told: bool,
    ) {
        let notice = agent_notice(&status(before), &status(after));
        assert_eq!(notice.is_some(), told);
        if let Some(notice) = notice {
            assert!(notice.warning && notice.reason == "AgentUpdateFailed");
            assert!(notice.note.contains(after.unwrap()) && notice.note.contains("Exec format error"));
        }
    }
}
