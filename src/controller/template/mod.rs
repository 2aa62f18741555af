//! The Template controller: says whether a Template can be used, and which one is its
//! namespace's default.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
    runtime::controller::Action,
};
use serde_json::json;

use crate::{
    api::{
        self, ProxmoxTemplateStatus, Template, TemplatePhase, TemplateStatus,
        condition::{self, ConditionList},
    },
    config::Config,
};

use super::{
    context::Context,
    workspace::{Templates, default_of},
};

/// Templates change rarely and depend on nothing outside the cluster.
const RESYNC: Duration = Duration::from_secs(3600);

/// Writes the status of one Template.
pub async fn reconcile(template: Arc<Template>, context: Arc<Context>) -> Result<Action, kube::Error> {
    let started = std::time::Instant::now();
    let result = write(&template, &context).await;
    context.metrics.reconciled("Template", result.is_ok(), started.elapsed());
    result.map(|()| Action::requeue(RESYNC))
}

async fn write(template: &Template, context: &Context) -> Result<(), kube::Error> {
    if template.metadata.deletion_timestamp.is_some() {
        return Ok(());
    }
    let namespace = template.namespace().unwrap_or_default();
    let default = default_of(&context.objects.of_namespace(&namespace));
    let before = template.status.clone().unwrap_or_default();
    let after = describe(&before, template, default.as_deref(), &context.config, Timestamp::now());
    if serde_json::to_value(&before).ok() == serde_json::to_value(&after).ok() {
        return Ok(());
    }
    let body = json!({
        "apiVersion": format!("{}/{}", api::GROUP, api::VERSION),
        "kind": "Template",
        "metadata": {"name": template.name_any(), "uid": template.uid()},
        "status": after,
    });
    let api: Api<Template> = Api::namespaced(context.client.clone(), &namespace);
    let parameters = PatchParams::apply(super::workspace::write::FIELD_MANAGER).force();
    match api.patch_status(&template.name_any(), &parameters, &Patch::Apply(&body)).await {
        Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Ok(()),
        other => other.map(drop),
    }
}

/// What to say about a Template. Pure.
fn describe(
    before: &TemplateStatus,
    template: &Template,
    default: Option<&Template>,
    config: &Config,
    now: Timestamp,
) -> TemplateStatus {
    let mut list = ConditionList::new(&before.conditions, template.metadata.generation, now);
    let is_default = default.is_some_and(|default| default.uid() == template.uid());
    let phase = match problem(template, config) {
        Some((reason, message)) => {
            list.set(condition::READY, false, reason, &message);
            list.set(condition::STALLED, true, reason, &message);
            TemplatePhase::Failed
        }
        None if template.spec.default && !is_default => {
            let other = default.map(ResourceExt::name_any).unwrap_or_default();
            let message =
                format!("Template {other:?} is older and marked too: it is this namespace's default");
            list.set(condition::READY, true, "DefaultConflict", &message);
            TemplatePhase::Ready
        }
        None => {
            list.set(condition::READY, true, "Usable", "");
            TemplatePhase::Ready
        }
    };
    TemplateStatus {
        observed_generation: template.metadata.generation,
        phase: Some(phase.as_str().to_owned()),
        default: Some(is_default),
        proxmox: template.spec.proxmox.as_ref().and_then(|proxmox| {
            let known = before.proxmox.clone().unwrap_or_default();
            proxmox.vmid.map(|vmid| ProxmoxTemplateStatus { vmid: Some(vmid), ..known })
        }),
        conditions: list.finish(),
        ..TemplateStatus::default()
    }
}

fn problem(template: &Template, config: &Config) -> Option<(&'static str, String)> {
    let namespace = template.namespace().unwrap_or_default();
    let name =
        template.spec.backend.as_ref().map(|backend| backend.name.as_str()).or(config.default_backend())?;
    match config.backend(name) {
        None => Some((
            "BackendNotFound",
            format!("spec.backend.name: the operator's configuration has no backend {name:?}"),
        )),
        Some(backend) if !backend.allows(&namespace) && !config.shares_templates(&namespace) => Some((
            "BackendForbidden",
            format!("spec.backend.name: namespace {namespace:?} may not use backend {name:?}"),
        )),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::TemplateSpec;

    fn config() -> Config {
        serde_yaml::from_str("backends: [{name: a, memory: {}}, {name: b, allowedNamespaces: [x], memory: {}}]\ndefaultBackend: a")
            .unwrap()
    }

    fn template(name: &str, backend: Option<&str>, default: bool) -> Template {
        let backend = backend.map(|name| api::template::TemplateBackend { name: name.to_owned() });
        let mut template = Template::new(name, TemplateSpec { backend, default, ..Default::default() });
        template.metadata.namespace = Some("ns".to_owned());
        template.metadata.uid = Some(name.to_owned());
        template
    }

    #[rstest::rstest]
    #[case::usable(None, "Ready", "Usable")]
    #[case::no_such_backend(Some("c"), "Failed", "BackendNotFound")]
    #[case::not_for_this_namespace(Some("b"), "Failed", "BackendForbidden")]
    fn what_is_said_of_a_template(#[case] backend: Option<&str>, #[case] phase: &str, #[case] reason: &str) {
        let template = template("t", backend, false);
        let status = describe(
            &TemplateStatus::default(),
            &template,
            Some(&template),
            &config(),
            Timestamp::UNIX_EPOCH,
        );
        assert_eq!((status.phase.as_deref(), status.conditions[0].reason.as_str()), (Some(phase), reason));
        assert_eq!(status.default, Some(true));
    }

    #[test]
    fn a_second_default_is_told_so() {
        let (first, second) = (template("first", None, true), template("second", None, true));
        let status =
            describe(&TemplateStatus::default(), &second, Some(&first), &config(), Timestamp::UNIX_EPOCH);
        assert_eq!((status.default, status.conditions[0].reason.as_str()), (Some(false), "DefaultConflict"));
    }
}
