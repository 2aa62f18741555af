//! From the object to domain types. After this nobody reads the raw spec.

use kube::{ResourceExt, runtime::reflector::ObjectRef};
use sha2::{Digest, Sha256};

use crate::{
    api::{self, ProxmoxTemplate, Template, condition},
    backend::Owner,
    config::{BackendConfig, Config},
    controller::{
        trigger::TemplateKey,
        workspace::{
            infrastructure::within,
            problem::Problem,
            validate::{DeletionRequest, WayOut},
        },
    },
    provision,
};

/// The user of Templates that name none.
const DEFAULT_USER: &str = "dev";

/// Who the Template is, and what its metadata asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Subject {
    /// The mark on the backend.
    pub owner: Owner,
    /// For the queue.
    pub key: TemplateKey,
    /// Generation of the spec.
    pub generation: i64,
    /// The annotation `berth.dev/retry-nonce`.
    pub retry_nonce: Option<String>,
    /// Whether our finalizer is on it.
    pub has_finalizer: bool,
    /// The deletion that was asked for.
    pub deletion: Option<DeletionRequest>,
}

impl Subject {
    /// Reads the metadata.
    pub fn parse(template: &Template) -> Self {
        Self {
            owner: Owner {
                namespace: template.namespace().unwrap_or_default(),
                name: template.name_any(),
                uid: template.uid().unwrap_or_default(),
            },
            key: ObjectRef::from_obj(template),
            generation: template.metadata.generation.unwrap_or_default(),
            retry_nonce: template.annotations().get(api::ANNOTATION_RETRY).cloned(),
            has_finalizer: template.finalizers().iter().any(|name| name == api::FINALIZER),
            deletion: template.metadata.deletion_timestamp.as_ref().map(|since| DeletionRequest {
                since: since.0,
                retain_volumes: false,
                way_out: WayOut::of(template),
            }),
        }
    }
}

/// What a Template is wanted to be.
#[derive(Clone, Debug, PartialEq)]
pub enum Wanted {
    /// An image, of which only Workspaces see whether it is there.
    Image,
    /// A template that is on a cluster already.
    Existing {
        /// The backend.
        backend: String,
        /// Its VMID.
        vmid: u32,
    },
    /// A template to be built.
    Build(Build),
}

/// A template to be built.
#[derive(Clone, Debug, PartialEq)]
pub struct Build {
    /// The backend to build on.
    pub backend: String,
    /// The OS template, or the beginning of its name.
    pub os_template: String,
    /// The node to build on.
    pub node: Option<String>,
    /// The storage for its disk.
    pub storage: Option<String>,
    /// Packages beside those that every workspace needs.
    pub packages: Vec<String>,
    /// The workspace's user.
    pub user: String,
    /// Whether containers may hold containers of their own.
    pub nesting: bool,
    /// Whether containers get `/dev/net/tun`.
    pub tun: bool,
    /// Whether it is kept running for changes by hand.
    pub staging: bool,
    /// Stands for all of the above but `staging`.
    pub fingerprint: String,
}

/// Reads spec and configuration together. What the API server checks is checked again where a
/// wrong value could do harm.
pub fn validate(template: &Template, config: &Config) -> Result<Wanted, Problem> {
    let named = template.spec.backend.as_ref().map(|backend| backend.name.as_str());
    let backend = match named.or(config.default_backend()) {
        Some(name) => Some(usable(name, template, config)?),
        None => None,
    };
    let Some(proxmox) = &template.spec.proxmox else {
        return match backend {
            Some(backend) if backend.proxmox.is_some() => Err(wrong_kind(backend, "docker")),
            _ => Ok(Wanted::Image),
        };
    };
    let backend = backend.ok_or_else(|| {
        refused("BackendNotFound", "spec.backend is absent, and the operator has no default backend".into())
    })?;
    if backend.docker.is_some() {
        return Err(wrong_kind(backend, "proxmox"));
    }
    match (proxmox.vmid, &proxmox.os_template) {
        (Some(vmid), None) => Ok(Wanted::Existing { backend: backend.name.clone(), vmid }),
        (None, Some(os_template)) => {
            let is_tenants = !config.shares_templates(&template.namespace().unwrap_or_default());
            build(template, proxmox, os_template, backend, is_tenants).map(Wanted::Build)
        }
        _ => Err(refused(
            "TemplateInvalid",
            "exactly one of spec.proxmox.vmid and spec.proxmox.osTemplate must be set".into(),
        )),
    }
}

fn usable<'a>(name: &str, template: &Template, config: &'a Config) -> Result<&'a BackendConfig, Problem> {
    let namespace = template.namespace().unwrap_or_default();
    match config.backend(name) {
        None => Err(refused(
            "BackendNotFound",
            format!("spec.backend.name: the operator's configuration has no backend {name:?}"),
        )),
        Some(backend) if !backend.allows(&namespace) && !config.shares_templates(&namespace) => Err(refused(
            "BackendForbidden",
            format!("spec.backend.name: namespace {namespace:?} may not use backend {name:?}"),
        )),
        Some(backend) => Ok(backend),
    }
}

fn build(
    template: &Template,
    proxmox: &ProxmoxTemplate,
    os_template: &str,
    backend: &BackendConfig,
    is_tenants: bool,
) -> Result<Build, Problem> {
    let user = template.spec.user.clone().unwrap_or_else(|| DEFAULT_USER.to_owned());
    provision::user::check_name(&user)
        .map_err(|error| refused("UserInvalid", format!("spec.user: {}", error.message)))?;
    if user == "root" {
        return Err(refused("UserInvalid", "spec.user: the workspace's user must not be root".into()));
    }
    if let Some(package) = proxmox.packages.iter().find(|package| !provision::template::is_package(package)) {
        return Err(refused(
            "TemplateInvalid",
            format!("spec.proxmox.packages: {package:?} is no name of a package"),
        ));
    }
    let known = backend.host_names();
    if let Some(node) = proxmox.node.as_deref().filter(|node| !known.is_empty() && !known.contains(node)) {
        let words = format!("spec.proxmox.node: backend {:?} has no node {node:?}", backend.name);
        return Err(refused("HostNotFound", words));
    }
    let cluster = backend.proxmox.as_ref();
    // Who makes Templates for everybody is no tenant.
    if let Some(bounds) = cluster.map(|cluster| &cluster.tenant_bounds).filter(|_| is_tenants) {
        if let Some(node) = &proxmox.node {
            within("spec.proxmox.node", node, &bounds.nodes)?;
        }
        if let Some(storage) = &proxmox.storage {
            within("spec.proxmox.storage", storage, &bounds.storages)?;
        }
    }
    let storage = cluster.and_then(|cluster| cluster.storage.clone());
    Ok(Build {
        backend: backend.name.clone(),
        os_template: os_template.to_owned(),
        node: proxmox.node.clone(),
        storage: proxmox.storage.clone().or(storage),
        packages: proxmox.packages.clone(),
        nesting: proxmox.nesting,
        tun: proxmox.tun,
        staging: proxmox.staging,
        fingerprint: fingerprint(proxmox, &user, &backend.name),
        user,
    })
}

/// Whether somebody still works on it by hand is no part of what it is built from.
fn fingerprint(proxmox: &ProxmoxTemplate, user: &str, backend: &str) -> String {
    let built = ProxmoxTemplate { staging: false, ..proxmox.clone() };
    let text = serde_json::json!([built, user, backend]).to_string();
    hex::encode(Sha256::digest(text)).chars().take(16).collect()
}

fn wrong_kind(backend: &BackendConfig, field: &str) -> Problem {
    let words = format!("spec.{field} does not go with backend {:?}, which is of another kind", backend.name);
    refused("TemplateInvalid", words)
}

fn refused(reason: &'static str, message: String) -> Problem {
    Problem::permanent(condition::ACCEPTED, reason, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(spec: serde_json::Value) -> Template {
        serde_json::from_value(serde_json::json!({
            "apiVersion": "berth.dev/v1alpha1", "kind": "Template",
            "metadata": {"name": "t", "namespace": "ns"}, "spec": spec,
        }))
        .unwrap()
    }

    fn said(spec: serde_json::Value) -> Result<Wanted, Problem> {
        let config = "backends: [{name: a, memory: {}}, {name: b, allowedNamespaces: [x], memory: {}}]\ndefaultBackend: a";
        validate(&template(spec), &serde_yaml::from_str(config).unwrap())
    }

    fn fingerprint_of(spec: serde_json::Value) -> String {
        match said(serde_json::json!({ "proxmox": spec })) {
            Ok(Wanted::Build(build)) => build.fingerprint,
            other => panic!("{other:?}"),
        }
    }

    #[rstest::rstest]
    #[case::no_such_backend(serde_json::json!({"backend": {"name": "c"}, "docker": {"image": "i"}}), "BackendNotFound")]
    #[case::not_for_this_namespace(serde_json::json!({"backend": {"name": "b"}, "docker": {"image": "i"}}), "BackendForbidden")]
    #[case::both(serde_json::json!({"proxmox": {"vmid": 900, "osTemplate": "debian-12"}}), "TemplateInvalid")]
    #[case::option_as_package(serde_json::json!({"proxmox": {"osTemplate": "debian-12", "packages": ["--help"]}}), "TemplateInvalid")]
    #[case::root(serde_json::json!({"proxmox": {"osTemplate": "debian-12"}, "user": "root"}), "UserInvalid")]
    #[case::no_such_node(serde_json::json!({"proxmox": {"osTemplate": "debian-12", "node": "x"}}), "HostNotFound")]
    fn what_can_not_be_used(#[case] spec: serde_json::Value, #[case] reason: &str) {
        assert_eq!(said(spec).unwrap_err().reason, reason);
    }

    fn bounded(namespace: &str, proxmox: serde_json::Value) -> Result<Wanted, Problem> {
        let config = "backends: [{name: pve, proxmox: {endpoints: ['https://pve1:8006'], \
            token: {id: 'a@pve!b', secretFile: /s}, ssh: {keyFile: /k}, \
            tenantBounds: {nodes: [pve1], storages: [slow]}}}]\ntemplates: {sharedNamespaces: [shared]}";
        let mut template = template(serde_json::json!({"proxmox": proxmox}));
        template.metadata.namespace = Some(namespace.to_owned());
        validate(&template, &serde_yaml::from_str(config).unwrap())
    }

    #[rstest::rstest]
    #[case::node(serde_json::json!({"osTemplate": "debian-12", "node": "pve2"}), "spec.proxmox.node: pve2 is not")]
    #[case::storage(serde_json::json!({"osTemplate": "debian-12", "storage": "fast"}), "spec.proxmox.storage: fast is not")]
    fn tenants_templates_stay_within_tenants_bounds(#[case] proxmox: serde_json::Value, #[case] words: &str) {
        let refused = bounded("ns", proxmox.clone()).unwrap_err();
        assert!(
            (refused.reason, refused.message.starts_with(words)) == ("FieldForbidden", true),
            "{refused:?}"
        );
        assert!(bounded("shared", proxmox).is_ok());
        let inside = serde_json::json!({"osTemplate": "debian-12", "node": "pve1", "storage": "slow"});
        assert!(bounded("ns", inside).is_ok());
    }

    #[rstest::rstest]
    #[case::staging_is_not_built_in(serde_json::json!({"osTemplate": "debian-12", "staging": true}), true)]
    #[case::packages_are(serde_json::json!({"osTemplate": "debian-12", "packages": ["jq"]}), false)]
    #[case::the_os_template_is(serde_json::json!({"osTemplate": "debian-13"}), false)]
    fn what_goes_into_the_building(#[case] changed: serde_json::Value, #[case] same: bool) {
        let before = fingerprint_of(serde_json::json!({"osTemplate": "debian-12"}));
        assert_eq!(before == fingerprint_of(changed), same);
    }
}
