//! From the object to domain types. After this nobody reads the raw spec.

use std::time::Duration;

use berth_link::wire::process::{
    ErrorDetection, Health, LogLimits, ProcessId, Restart, RestartPolicy as WirePolicy,
};
use kube::{ResourceExt, runtime::reflector::ObjectRef};

use crate::{
    api::{
        DevServer, EnvVar, condition,
        devserver::{PasswordSecretRef, PreviewAccess, ProcessMode, RestartPolicy},
    },
    config::{Bytes, GoDuration},
    controller::{trigger::WorkspaceKey, workspace::problem::Problem},
};

/// Who the DevServer is. Every one has this, however broken its spec is.
#[derive(Clone, Debug, PartialEq)]
pub struct Subject {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Generation of the spec.
    pub generation: i64,
    /// Its Workspace, whether that exists or not.
    pub home: WorkspaceKey,
}

impl Subject {
    /// Reads the metadata, and the reference to the Workspace, which can not change.
    pub fn parse(object: &DevServer) -> Self {
        Self {
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
            uid: object.uid().unwrap_or_default(),
            generation: object.metadata.generation.unwrap_or_default(),
            home: home_of(object),
        }
    }
}

/// The Workspace of a DevServer.
pub fn home_of(object: &DevServer) -> WorkspaceKey {
    ObjectRef::new(&object.spec.workspace_ref.name).within(&object.namespace().unwrap_or_default())
}

/// What is wanted of a DevServer.
#[derive(Clone, Debug, PartialEq)]
pub struct Desired {
    /// The process's name in the workspace.
    pub id: ProcessId,
    /// Whether it is meant to run.
    pub mode: ProcessMode,
    /// What is run.
    pub command: String,
    /// Where.
    pub workdir: String,
    /// With which variables.
    pub env: Vec<EnvVar>,
    /// The port that it opens.
    pub port: Option<u16>,
    /// What happens when it ends by itself.
    pub restart: Restart,
    /// A new value starts it anew.
    pub restart_nonce: String,
    /// How it is seen to be well.
    pub health: Health,
    /// How much output is kept.
    pub logs: LogLimits,
    /// What in its output is an error.
    pub errors: ErrorDetection,
    /// Its preview, where it has one.
    pub preview: Option<DesiredPreview>,
}

/// What is wanted of a preview.
#[derive(Clone, Debug, PartialEq)]
pub struct DesiredPreview {
    /// Whether the spec asks for it by name, rather than having it because there is a port.
    pub explicit: bool,
    /// Who may see it.
    pub access: PreviewAccess,
    /// Where the password is, with access `Password`.
    pub password: Option<PasswordSecretRef>,
    /// How long it lasts, where the spec says so.
    pub lifetime: Option<Duration>,
    /// Whether the process ends with it.
    pub stop_process_on_expiry: bool,
}

/// Reads a spec. The API server has checked all of this by the schema's rules; a spec that came
/// past them is refused here.
pub fn validate(object: &DevServer) -> Result<Desired, Problem> {
    let spec = &object.spec;
    if spec.command.trim().is_empty() || spec.command.contains('\0') {
        return Err(invalid("spec.command", "must be a command: not blank, and without NUL characters"));
    }
    if !spec.workdir.starts_with('/') || spec.workdir.split('/').any(|part| part == "..") {
        return Err(invalid("spec.workdir", "must be an absolute path without '..'"));
    }
    if spec.port == Some(0) {
        return Err(invalid("spec.port", "must be from 1 to 65535"));
    }
    Ok(Desired {
        id: object.name_any().parse().map_err(|error| invalid("metadata.name", &format!("{error}")))?,
        mode: spec.operating_mode,
        command: spec.command.clone(),
        workdir: spec.workdir.clone(),
        env: spec.env.clone(),
        port: spec.port,
        restart: restart(object)?,
        restart_nonce: spec.restart_nonce.clone().unwrap_or_default(),
        health: health(object)?,
        logs: LogLimits { max_lines: spec.logs.max_lines.into(), max_bytes: log_bytes(object)? },
        errors: ErrorDetection {
            json: spec.errors.json,
            text: spec.errors.text,
            fatal: spec.errors.fatal_patterns.clone(),
        },
        preview: preview(object)?,
    })
}

fn restart(object: &DevServer) -> Result<Restart, Problem> {
    let restart = &object.spec.restart;
    Ok(Restart {
        policy: match restart.policy {
            RestartPolicy::Always => WirePolicy::Always,
            RestartPolicy::OnFailure => WirePolicy::OnFailure,
            RestartPolicy::Never => WirePolicy::Never,
        },
        max_restarts: restart.max_restarts,
        initial_delay: duration("spec.restart.initialDelay", &restart.initial_delay)?,
        max_delay: duration("spec.restart.maxDelay", &restart.max_delay)?,
        reset_after: duration("spec.restart.resetAfter", &restart.reset_after)?,
    })
}

fn health(object: &DevServer) -> Result<Health, Problem> {
    let health = &object.spec.health;
    Ok(Health {
        path: health.path.clone(),
        interval: duration("spec.health.interval", &health.interval)?,
        timeout: duration("spec.health.timeout", &health.timeout)?,
        startup_grace: duration("spec.health.startupGrace", &health.startup_grace)?,
        failure_threshold: health.failure_threshold,
    })
}

fn log_bytes(object: &DevServer) -> Result<u64, Problem> {
    let text = &object.spec.logs.max_bytes.0;
    let Bytes(bytes) = text.parse().map_err(|error| invalid("spec.logs.maxBytes", &format!("{error}")))?;
    Ok(bytes)
}

fn preview(object: &DevServer) -> Result<Option<DesiredPreview>, Problem> {
    let preview = &object.spec.preview;
    let explicit = preview.enabled == Some(true);
    if object.spec.port.is_none() {
        return if explicit { Err(invalid("spec.preview.enabled", "needs spec.port")) } else { Ok(None) };
    }
    if preview.enabled == Some(false) {
        return Ok(None);
    }
    let password = match preview.access {
        PreviewAccess::Password => Some(
            preview
                .password_secret_ref
                .clone()
                .ok_or_else(|| invalid("spec.preview.access", "Password needs passwordSecretRef"))?,
        ),
        PreviewAccess::Link | PreviewAccess::Private => None,
    };
    Ok(Some(DesiredPreview {
        explicit,
        access: preview.access,
        password,
        lifetime: preview
            .lifetime
            .as_deref()
            .map(|lifetime| duration("spec.preview.lifetime", lifetime))
            .transpose()?,
        stop_process_on_expiry: preview.stop_process_on_expiry,
    }))
}

fn duration(field: &str, text: &str) -> Result<Duration, Problem> {
    text.parse::<GoDuration>().map(|duration| duration.0).map_err(|error| invalid(field, &error.to_string()))
}

fn invalid(field: &str, what: &str) -> Problem {
    Problem::permanent(condition::ACCEPTED, "InvalidSpec", format!("{field}: {what}"))
}
