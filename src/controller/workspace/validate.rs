//! From the object to domain types. After this nobody reads the raw spec.

use std::{net::IpAddr, sync::Arc};

use jiff::Timestamp;
use kube::{ResourceExt, runtime::reflector::ObjectRef};

use crate::{
    api::{
        self, EnvFromSource, EnvVar, OperatingMode, Repository, Resources, SecretKeyRef, Template,
        TemplateSnapshot, Workspace, condition,
    },
    backend::{Infrastructure, Owner, Pull},
    config::{BackendConfig, Bytes, Config, CpuMillis, GoDuration},
    controller::trigger::WorkspaceKey,
    provision::RemoteUrl,
};

use super::{
    infrastructure,
    problem::Problem,
    record::{Record, ResolvedSpec},
    template_choice::{self, Templates},
};

/// Who the Workspace is, and what its metadata asks for. Every Workspace has one, however broken
/// its spec is: a deletion needs no more.
#[derive(Clone, Debug, PartialEq)]
pub struct Subject {
    /// The mark on the backend.
    pub owner: Owner,
    /// For the queue.
    pub key: WorkspaceKey,
    /// Generation of the spec.
    pub generation: i64,
    /// The annotation `berth.dev/retry-nonce`.
    pub retry_nonce: Option<String>,
    /// Whether our finalizer is on it.
    pub has_finalizer: bool,
    /// The deletion that was asked for.
    pub deletion: Option<DeletionRequest>,
}

/// A deletion that was asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct DeletionRequest {
    /// Since when.
    pub since: Timestamp,
    /// Whether volumes stay.
    pub retain_volumes: bool,
    /// The last ways out.
    pub way_out: Option<WayOut>,
}

/// The last ways out of a deletion.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum WayOut {
    /// Go at once; what can not be removed now is removed later.
    Force,
    /// Go at once and leave everything as it is.
    Orphan,
}

impl WayOut {
    /// The one that an object's annotations ask for, by its own uid.
    pub fn of(object: &impl ResourceExt) -> Option<Self> {
        let uid = object.uid()?;
        let annotated = |name: &str| object.annotations().get(name) == Some(&uid);
        if annotated(api::ANNOTATION_ORPHAN) {
            Some(Self::Orphan)
        } else if annotated(api::ANNOTATION_FORCE) {
            Some(Self::Force)
        } else {
            None
        }
    }
}

impl Subject {
    /// Reads the metadata.
    pub fn parse(workspace: &Workspace) -> Self {
        let uid = workspace.uid().unwrap_or_default();
        let annotated = |name: &str| workspace.annotations().get(name);
        let way_out = WayOut::of(workspace);
        let retain_volumes = workspace.spec.deletion.as_ref().is_some_and(|deletion| deletion.retain_volumes);
        Self {
            owner: Owner {
                namespace: workspace.namespace().unwrap_or_default(),
                name: workspace.name_any(),
                uid: uid.clone(),
            },
            key: ObjectRef::from_obj(workspace),
            generation: workspace.metadata.generation.unwrap_or_default(),
            retry_nonce: annotated(api::ANNOTATION_RETRY).cloned(),
            has_finalizer: workspace.finalizers().iter().any(|name| name == api::FINALIZER),
            deletion: workspace.metadata.deletion_timestamp.as_ref().map(|since| DeletionRequest {
                since: since.0,
                retain_volumes,
                way_out,
            }),
        }
    }
}

/// What a Workspace is wanted to be.
#[derive(Clone, Debug, PartialEq)]
pub struct Desired {
    /// Who it is.
    pub subject: Subject,
    /// Whether it is to run.
    pub mode: OperatingMode,
    /// `spec.restartNonce`.
    pub restart_nonce: Option<String>,
    /// The backend it is on, or is to be on.
    pub backend: String,
    /// The host it must be on.
    pub pinned_host: Option<String>,
    /// What the container is made from: fixed once there has been one.
    pub resolved: ResolvedSpec,
    /// The Template behind that; `None` when it is gone and no longer needed.
    pub template: Option<DesiredTemplate>,
    /// The repository to clone.
    pub repository: Option<DesiredRepository>,
    /// Identity for commits.
    pub git: api::Git,
    /// Environment variables, in the order in which later ones win.
    pub env: Vec<EnvLayer>,
    /// DNS servers; empty for the backend's.
    pub dns_servers: Vec<IpAddr>,
    /// Where and how the container is made, on backends that can be told.
    pub infrastructure: Infrastructure,
    /// How long provisioning may take.
    pub provision_timeout: std::time::Duration,
}

/// The repository to clone, with references in place of what is secret.
#[derive(Clone, Debug, PartialEq)]
pub struct DesiredRepository {
    /// Where it is.
    pub url: RemoteUrl,
    /// The branch to check out; absent for the repository's own default.
    pub branch: Option<String>,
    /// How many commits to fetch; absent for all.
    pub depth: Option<u32>,
    /// Whether submodules come along.
    pub submodules: bool,
    /// What the server is shown.
    pub credential: CredentialRef,
    /// Host keys that the server may have.
    pub known_hosts: Option<String>,
}

/// Where the credential for a repository is.
#[derive(Clone, Debug, PartialEq)]
pub enum CredentialRef {
    /// There is none.
    None,
    /// A key of a Secret holds a token.
    Token(SecretKeyRef),
    /// A key of a Secret holds a private SSH key.
    SshKey(SecretKeyRef),
}

/// What is needed of the Template beyond `resolved`.
#[derive(Clone, Debug, PartialEq)]
pub struct DesiredTemplate {
    /// Which one.
    pub snapshot: TemplateSnapshot,
    /// When to pull its image.
    pub pull: Pull,
    /// Names of pull secrets in its namespace.
    pub pull_secrets: Vec<String>,
}

/// Environment variables of one object.
#[derive(Clone, Debug, PartialEq)]
pub struct EnvLayer {
    /// Namespace of the Secrets and ConfigMaps it refers to.
    pub namespace: String,
    /// Whole Secrets and ConfigMaps.
    pub from: Vec<EnvFromSource>,
    /// Single variables; they win over `from`.
    pub variables: Vec<EnvVar>,
}

/// Reads spec, Template and configuration together. What the API server checks is checked again
/// where a wrong value could do harm.
pub fn validate(
    workspace: &Workspace,
    subject: Subject,
    record: &Record,
    config: &Config,
    templates: &dyn Templates,
) -> Result<Desired, Problem> {
    let namespace = subject.owner.namespace.clone();
    let spec = &workspace.spec;
    let template = match template_choice::choose(&namespace, spec.template_ref.as_ref(), config, templates) {
        Ok(template) => Some(template),
        // A container that exists no longer needs its Template.
        Err(problem) if record.is_unmade() => return Err(problem),
        Err(_) => None,
    };
    if let Some(template) = &template {
        check_sharing(template, &namespace)?;
    }
    let backend = choose_backend(workspace, template.as_deref(), record, config)?;
    let pinned_host = infrastructure::pinned_host(workspace, backend)?;
    let resolved = match &record.body {
        Some(body) if !record.is_unmade() => body.resolved.clone(),
        _ => resolve(spec.resources.as_ref(), template.as_deref(), backend, config)?,
    };
    let infrastructure = infrastructure::infrastructure(workspace, template.as_deref(), &resolved, backend)?;
    let repository =
        spec.repository.clone().map(|repository| desired_repository(repository, config)).transpose()?;
    let mut env = Vec::new();
    if let Some(template) = &template {
        env.push(EnvLayer {
            namespace: template.namespace().unwrap_or_default(),
            from: template.spec.env_from.clone(),
            variables: template.spec.env.clone(),
        });
    }
    env.push(EnvLayer { namespace, from: spec.env_from.clone(), variables: spec.env.clone() });
    let timeout = template.as_ref().and_then(|template| template.spec.provision_timeout.as_deref());
    let provision_timeout = match timeout.map(str::parse::<GoDuration>) {
        Some(Ok(duration)) => duration.0,
        Some(Err(error)) => {
            return Err(Problem::permanent(
                condition::TEMPLATE_RESOLVED,
                "TemplateInvalid",
                format!("spec.provisionTimeout of the Template: {error}"),
            ));
        }
        None => config.timeouts.provision.0,
    };
    Ok(Desired {
        mode: spec.operating_mode,
        restart_nonce: spec.restart_nonce.clone(),
        backend: backend.name.clone(),
        pinned_host,
        resolved,
        template: template.as_deref().map(desired_template),
        repository,
        git: spec.git.clone().unwrap_or_default(),
        env,
        dns_servers: dns_servers(workspace)?,
        infrastructure,
        provision_timeout,
        subject,
    })
}

fn desired_template(template: &Template) -> DesiredTemplate {
    let docker = template.spec.docker.as_ref();
    DesiredTemplate {
        snapshot: TemplateSnapshot {
            name: template.name_any(),
            namespace: template.namespace().unwrap_or_default(),
            uid: template.uid().unwrap_or_default(),
            generation: template.metadata.generation.unwrap_or_default(),
        },
        pull: match docker.map(|docker| docker.pull_policy).unwrap_or_default() {
            api::PullPolicy::Always => Pull::Always,
            api::PullPolicy::IfNotPresent => Pull::IfNotPresent,
            api::PullPolicy::Never => Pull::Never,
        },
        pull_secrets: docker
            .map(|docker| docker.image_pull_secrets.iter().map(|secret| secret.name.clone()).collect())
            .unwrap_or_default(),
    }
}

/// A Template that others use may not hand out its namespace's Secrets.
fn check_sharing(template: &Arc<Template>, namespace: &str) -> Result<(), Problem> {
    let home = template.namespace().unwrap_or_default();
    let refers_to_secrets =
        template.spec.env_from.iter().any(|source| source.secret_ref.is_some())
            || template.spec.env.iter().any(|variable| {
                variable.value_from.as_ref().is_some_and(|from| from.secret_key_ref.is_some())
            });
    if home != namespace && refers_to_secrets {
        return Err(Problem::permanent(
            condition::TEMPLATE_RESOLVED,
            "TemplateForbidden",
            format!(
                "Template {home}/{} refers to Secrets in its environment, so only Workspaces of its own namespace may use it",
                template.name_any()
            ),
        ));
    }
    Ok(())
}

fn choose_backend<'a>(
    workspace: &Workspace,
    template: Option<&Template>,
    record: &Record,
    config: &'a Config,
) -> Result<&'a BackendConfig, Problem> {
    let named = workspace.spec.backend.as_ref().and_then(|backend| backend.name.as_deref());
    let of_template =
        template.and_then(|template| template.spec.backend.as_ref()).map(|backend| backend.name.as_str());
    let pinned = record.body.as_ref().map(|body| body.backend.as_str());
    let name = pinned.or(named).or(of_template).or(config.default_backend()).ok_or_else(|| {
        Problem::permanent(
            condition::BACKEND_READY,
            "NoDefaultBackend",
            "no backend is named, and the operator's configuration has no defaultBackend",
        )
        .hint("name one in spec.backend.name")
    })?;
    let backend = config.backend(name).ok_or_else(|| {
        Problem::permanent(
            condition::BACKEND_READY,
            "BackendNotFound",
            format!("the operator's configuration has no backend {name:?}"),
        )
    })?;
    let namespace = workspace.namespace().unwrap_or_default();
    if pinned.is_none() && !backend.allows(&namespace) {
        return Err(Problem::permanent(
            condition::BACKEND_READY,
            "BackendForbidden",
            format!("spec.backend.name: namespace {namespace:?} may not use backend {name:?}"),
        )
        .hint("ask the administrator to list the namespace in allowedNamespaces of the backend"));
    }
    Ok(backend)
}

fn resolve(
    own: Option<&Resources>,
    template: Option<&Template>,
    backend: &BackendConfig,
    config: &Config,
) -> Result<ResolvedSpec, Problem> {
    let of_template = template.and_then(|template| template.spec.resources.as_ref());
    let invalid = |field: &str, error: String| {
        Problem::permanent(condition::ACCEPTED, "ResourcesInvalid", format!("resources.{field}: {error}"))
    };
    let pick = |of: fn(&Resources) -> Option<&k8s_openapi::apimachinery::pkg::api::resource::Quantity>| {
        own.and_then(of).or(of_template.and_then(of)).map(|quantity| quantity.0.as_str())
    };
    let cpu = match pick(|resources| resources.cpu.as_ref()) {
        Some(text) => text.parse::<CpuMillis>().map_err(|error| invalid("cpu", error.to_string()))?,
        None => config.defaults.cpu,
    };
    let memory = match pick(|resources| resources.memory.as_ref()) {
        Some(text) => text.parse::<Bytes>().map_err(|error| invalid("memory", error.to_string()))?,
        None => config.defaults.memory,
    };
    let pids = own.and_then(|resources| resources.pids).or(of_template.and_then(|resources| resources.pids));
    let pids = pids.unwrap_or(config.defaults.pids);
    let disk = match (&backend.proxmox, pick(|resources| resources.disk.as_ref())) {
        (None, _) => None,
        (Some(proxmox), None) => Some(proxmox.disk),
        (Some(_), Some(text)) => {
            Some(text.parse::<Bytes>().map_err(|error| invalid("disk", error.to_string()))?)
        }
    };
    let too_much = |field: &str, value: String, limit: String| {
        Problem::permanent(
            condition::ACCEPTED,
            "ResourceLimitExceeded",
            format!(
                "resources.{field}: {value} is more than the {limit} that the operator's configuration allows"
            ),
        )
    };
    if cpu > config.limits.cpu {
        return Err(too_much("cpu", cpu.to_string(), config.limits.cpu.to_string()));
    }
    if memory > config.limits.memory {
        return Err(too_much("memory", memory.to_string(), config.limits.memory.to_string()));
    }
    if let (Some(proxmox), Some(disk)) = (&backend.proxmox, disk)
        && disk > proxmox.greatest_disk
    {
        return Err(too_much("disk", disk.to_string(), proxmox.greatest_disk.to_string()));
    }
    if pids > config.limits.pids {
        return Err(too_much("pids", pids.to_string(), config.limits.pids.to_string()));
    }
    Ok(ResolvedSpec {
        image: template
            .map(|template| infrastructure::image(template, backend))
            .transpose()?
            .unwrap_or_default(),
        user: template.and_then(|template| template.spec.user.clone()).unwrap_or_else(|| "dev".to_owned()),
        cpu,
        memory,
        pids,
        disk,
    })
}

/// The API server has checked the URL against the same rules; what git could take for an option
/// or a command is refused here once more.
fn desired_repository(repository: Repository, config: &Config) -> Result<DesiredRepository, Problem> {
    let url = RemoteUrl::parse(&repository.url).map_err(|error| {
        Problem::permanent(
            condition::ACCEPTED,
            error.reason.as_str(),
            format!("spec.repository.url: {}", error.message),
        )
    })?;
    if repository.branch.as_deref().is_some_and(|branch| branch.starts_with('-')) {
        return Err(Problem::permanent(
            condition::ACCEPTED,
            "GitBranchInvalid",
            "spec.repository.branch must not begin with '-'",
        ));
    }
    let credential = match (repository.token_secret_ref, repository.ssh_key_secret_ref) {
        (Some(reference), _) => CredentialRef::Token(reference),
        (None, Some(reference)) => CredentialRef::SshKey(reference),
        (None, None) => CredentialRef::None,
    };
    Ok(DesiredRepository {
        url,
        branch: repository.branch,
        depth: repository.depth,
        submodules: repository.submodules,
        credential,
        known_hosts: repository.known_hosts.or_else(|| config.git.known_hosts.clone()),
    })
}

fn dns_servers(workspace: &Workspace) -> Result<Vec<IpAddr>, Problem> {
    let dns = workspace.spec.network.as_ref().and_then(|network| network.dns.as_ref());
    dns.map(|dns| dns.servers.as_slice())
        .unwrap_or_default()
        .iter()
        .map(|server| {
            server.parse().map_err(|_| {
                Problem::permanent(
                    condition::ACCEPTED,
                    "DnsServerInvalid",
                    format!("spec.network.dns.servers: {server:?} is not an IP address"),
                )
            })
        })
        .collect()
}
