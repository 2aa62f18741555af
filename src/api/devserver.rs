//! The DevServer: a supervised process in a Workspace, and its preview.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::{CustomResource, KubeSchema, core::Rule};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{DevServerStatus, EnvVar};

/// A process that runs in a Workspace and is looked after there: started, watched, started again
/// when it ends by itself, and shown in a browser when it serves HTTP on a port. Its agent in the
/// workspace does so even while the operator is away.
#[derive(Clone, CustomResource, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
#[kube(
    group = "berth.dev",
    version = "v1alpha1",
    kind = "DevServer",
    plural = "devservers",
    shortname = "dev",
    category = "berth",
    namespaced,
    status = "DevServerStatus",
    doc = "A process that runs in a Workspace and is looked after there: started, watched, started again when it ends by itself, and shown in a browser when it serves HTTP on a port.",
    derive = "PartialEq",
    selectable = ".spec.workspaceRef.name",
    selectable = ".status.phase",
    validation = Rule::new("self.metadata.name.matches('^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$')").message("the name of a DevServer must be a DNS label: at most 63 lowercase letters, digits and '-', beginning and ending with a letter or digit"),
    printcolumn(json_path = ".spec.workspaceRef.name", name = "Workspace", type_ = "string"),
    printcolumn(json_path = ".status.phase", name = "Phase", type_ = "string"),
    printcolumn(json_path = ".status.conditions[?(@.type=='Ready')].status", name = "Ready", type_ = "string"),
    printcolumn(json_path = ".status.preview.url", name = "URL", type_ = "string"),
    printcolumn(json_path = ".status.restartCount", name = "Restarts", type_ = "integer"),
    printcolumn(json_path = ".metadata.creationTimestamp", name = "Age", type_ = "date"),
    printcolumn(json_path = ".spec.port", name = "Port", type_ = "integer", priority = 1),
    printcolumn(json_path = ".status.conditions[?(@.type=='Ready')].reason", name = "Reason", type_ = "string", priority = 1),
    printcolumn(json_path = ".status.conditions[?(@.type=='Ready')].message", name = "Message", type_ = "string", priority = 1)
)]
#[x_kube(
    validation = Rule::new("has(self.port) || !has(self.preview.enabled) || !self.preview.enabled")
        .message("a preview needs spec.port, the port that the process serves HTTP on"),
    validation = Rule::new("has(self.port) || !has(self.health.path)")
        .message("health.path needs spec.port, the port that is asked"),
)]
#[serde(rename_all = "camelCase")]
pub struct DevServerSpec {
    /// The Workspace that the process runs in, in the same namespace. It can not be changed. While
    /// there is no such Workspace the DevServer waits for it; with the Workspace it is deleted.
    #[x_kube(
        validation = Rule::new("self == oldSelf")
            .message("workspaceRef can not be changed: delete this DevServer and make another one"),
    )]
    pub workspace_ref: WorkspaceRef,
    /// What is run, by a login shell of the workspace's user (`bash -lc`, or `sh -lc` where there
    /// is no bash): a command such as `npm run dev`, or several lines. 1 to 4096 characters. It
    /// should stay in the foreground. `HOST`, `PORT` and `DEV_SERVER_ID` are set for it.
    #[schemars(length(min = 1, max = 4096))]
    #[x_kube(
        validation = Rule::new(r"self.matches('\\S') && !self.contains('\x00')")
            .message("must be a command: not blank, and without NUL characters"),
    )]
    pub command: String,
    /// Folder that the command starts in: an absolute path without `..`. Default `/workspace`.
    #[serde(default = "default_workdir")]
    #[schemars(length(min = 1, max = 1024))]
    #[x_kube(
        validation = Rule::new(r"self.startsWith('/') && !self.matches('(^|/)\\.\\.(/|$)') && !self.contains('\x00')")
            .message("must be an absolute path without '..'"),
    )]
    pub workdir: String,
    /// The port that the process opens, 1 to 65535. It gets it as `PORT`. Needed for a preview and
    /// for health checks; each DevServer of a Workspace has its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<u16>,
    /// `Running` (the default) or `Stopped`: the process is ended, and what is known of it stays.
    #[serde(default)]
    pub operating_mode: ProcessMode,
    /// Environment variables of the process; they win over those of the Workspace. At most 64.
    /// What they refer to is read when this object changes and every few minutes; when a value is
    /// another one then, the process is started anew.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub env: Vec<EnvVar>,
    /// What happens when the process ends by itself.
    #[serde(default)]
    pub restart: Restart,
    /// Any text of at most 128 characters. When it changes the process is ended and started
    /// again, and its earlier crashes are forgotten.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub restart_nonce: Option<String>,
    /// How the process is seen to be well. It counts only where there is a port.
    #[serde(default)]
    pub health: Health,
    /// How much of the process's output is kept in the workspace.
    #[serde(default)]
    pub logs: Logs,
    /// What in the process's output counts as an error.
    #[serde(default)]
    pub errors: Errors,
    /// How the process is shown in a browser.
    #[serde(default)]
    pub preview: Preview,
}

/// Folder of the checked-out repository.
fn default_workdir() -> String {
    "/workspace".to_owned()
}

/// A rule for a duration in Go's writing, with the message that goes with it.
fn duration_between(least: &str, most: &str) -> Rule {
    let rule = format!(
        r"self.matches('^([0-9]+(\\.[0-9]+)?(h|m|s|ms))+$') && duration(self) >= duration('{least}') && duration(self) <= duration('{most}')"
    );
    let message = format!("must be a duration such as 500ms, 10s or 1h30m, from {least} to {most}");
    Rule::new(rule).message(message.as_str())
}

/// A Workspace by name.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkspaceRef {
    /// Name of the Workspace.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
}

/// Whether a DevServer's process is meant to run.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum ProcessMode {
    /// The process runs.
    #[default]
    Running,
    /// The process is ended.
    Stopped,
}

/// What happens when the process ends by itself.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [
    Rule::new("duration(self.initialDelay) <= duration(self.maxDelay)")
        .message("initialDelay must not be longer than maxDelay"),
]))]
pub struct Restart {
    /// After which ends it is started again. `OnFailure` (the default): a signal, an exit code
    /// other than 0, a failed health check or a fatal error. `Always`: every end. `Never`: none.
    pub policy: RestartPolicy,
    /// So many times it is started again without a good run between; then it has failed, with
    /// reason `CrashLoop`. 0 to 1000. Default 3.
    #[schemars(range(min = 0, max = 1000))]
    pub max_restarts: u32,
    /// Wait before the first restart, as a Go duration of 100ms to 10m; it doubles with each.
    /// Default 1s.
    #[schemars(length(min = 2, max = 32))]
    #[schemars(extend("x-kubernetes-validations" = [duration_between("100ms", "10m")]))]
    pub initial_delay: String,
    /// The longest wait, as a Go duration of 100ms to 1h. Default 60s.
    #[schemars(length(min = 2, max = 32))]
    #[schemars(extend("x-kubernetes-validations" = [duration_between("100ms", "1h")]))]
    pub max_delay: String,
    /// A run of this length is a good one: earlier crashes are forgotten. A Go duration of 1s to
    /// 24h. Default 5m.
    #[schemars(length(min = 2, max = 32))]
    #[schemars(extend("x-kubernetes-validations" = [duration_between("1s", "24h")]))]
    pub reset_after: String,
}

impl Default for Restart {
    fn default() -> Self {
        Self {
            policy: RestartPolicy::OnFailure,
            max_restarts: 3,
            initial_delay: "1s".to_owned(),
            max_delay: "60s".to_owned(),
            reset_after: "5m".to_owned(),
        }
    }
}

/// After which ends a process is started again.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum RestartPolicy {
    /// Every end.
    Always,
    /// A signal, an exit code other than 0, a failed health check or a fatal error.
    #[default]
    OnFailure,
    /// None.
    Never,
}

/// How the process is seen to be well.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Health {
    /// Path that is asked by HTTP `GET` on the port, beginning with `/`; any answer is a good one.
    /// Absent: it is enough that the port is open. At most 1024 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024), regex(pattern = r"^/[!-~]*$"))]
    pub path: Option<String>,
    /// Time between two checks, as a Go duration of 1s to 10m. Default 10s.
    #[schemars(length(min = 2, max = 32))]
    #[schemars(extend("x-kubernetes-validations" = [duration_between("1s", "10m")]))]
    pub interval: String,
    /// Longest time for one check, as a Go duration of 100ms to 1m. Default 2s.
    #[schemars(length(min = 2, max = 32))]
    #[schemars(extend("x-kubernetes-validations" = [duration_between("100ms", "1m")]))]
    pub timeout: String,
    /// So long after a start failures do not count, as a Go duration of 0s to 1h. Default 60s.
    #[schemars(length(min = 2, max = 32))]
    #[schemars(extend("x-kubernetes-validations" = [duration_between("0s", "1h")]))]
    pub startup_grace: String,
    /// So many failures in a row end the process, which counts as a crash. 0 to 100; 0: never.
    /// Default 2.
    #[schemars(range(min = 0, max = 100))]
    pub failure_threshold: u32,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            path: None,
            interval: "10s".to_owned(),
            timeout: "2s".to_owned(),
            startup_grace: "60s".to_owned(),
            failure_threshold: 2,
        }
    }
}

/// How much of the process's output is kept; the oldest goes first.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Logs {
    /// Lines, 1 to 100000. Default 1000.
    #[schemars(range(min = 1, max = 100_000))]
    pub max_lines: u32,
    /// Bytes, as a Kubernetes quantity of 4Ki to 64Mi. Default 1Mi.
    #[schemars(schema_with = "log_bytes_schema")]
    pub max_bytes: Quantity,
}

impl Default for Logs {
    fn default() -> Self {
        Self { max_lines: 1000, max_bytes: Quantity("1Mi".to_owned()) }
    }
}

fn log_bytes_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    super::common::quantity_schema("4Ki", Some("64Mi"))
}

/// What in the process's output counts as an error. Errors are counted and shown; only a fatal
/// one ends the process.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Errors {
    /// Lines that are JSON objects with a numeric `level` of 50 or more, as pino writes them,
    /// count. Default true.
    pub json: bool,
    /// Lines that look like errors of common tools count. Default true.
    pub text: bool,
    /// A line that contains one of these texts, whatever the case, ends the process, which counts
    /// as a crash. At most 32, each of 1 to 256 characters. Default: what shows that a server can
    /// not go on by itself: `EADDRINUSE`, `heap out of memory` and `segmentation fault`.
    #[schemars(length(max = 32), inner(length(min = 1, max = 256)))]
    pub fatal_patterns: Vec<String>,
}

impl Default for Errors {
    fn default() -> Self {
        let fatal = ["EADDRINUSE", "heap out of memory", "segmentation fault"];
        Self { json: true, text: true, fatal_patterns: fatal.map(str::to_owned).to_vec() }
    }
}

/// How the process is shown in a browser: under a host name of its own below the preview domain
/// of the operator's configuration. The name is made once, can not be guessed, and stays.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [
    Rule::new("self.access != 'Password' || has(self.passwordSecretRef)")
        .message("access Password needs passwordSecretRef"),
    Rule::new("self.access == 'Password' || !has(self.passwordSecretRef)")
        .message("passwordSecretRef needs access Password"),
]))]
pub struct Preview {
    /// Whether there is a preview. Absent: yes where there is a port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Who may see it. `Link` (the default): everyone who knows the address. `Password`: everyone
    /// who knows the password too. `Private`: only who may use the Workspace.
    pub access: PreviewAccess,
    /// The password, with access `Password`: a key of a Secret in the same namespace, holding the
    /// password itself or a bcrypt hash of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_secret_ref: Option<PasswordSecretRef>,
    /// The preview ends so long after it first had its address, as a Go duration of 1m to 8760h.
    /// A longer one brings it back. Absent: the operator's configured time, else never.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 32))]
    #[schemars(extend("x-kubernetes-validations" = [duration_between("1m", "8760h")]))]
    pub lifetime: Option<String>,
    /// `true` (the default): the process is ended when the preview's lifetime is over.
    pub stop_process_on_expiry: bool,
    /// Which host name the process sees. `Rewrite` (the default): `localhost` with its port, in
    /// `Host` and `Origin`, as most dev servers want it. `Preserve`: the name in the browser.
    pub host_header: HostHeader,
}

impl Default for Preview {
    fn default() -> Self {
        Self {
            enabled: None,
            access: PreviewAccess::Link,
            password_secret_ref: None,
            lifetime: None,
            stop_process_on_expiry: true,
            host_header: HostHeader::Rewrite,
        }
    }
}

/// Who may see a preview.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum PreviewAccess {
    /// Everyone who knows the address.
    #[default]
    Link,
    /// Everyone who knows the address and the password.
    Password,
    /// Only who may use the Workspace.
    Private,
}

/// Which host name a process behind a preview sees.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum HostHeader {
    /// `localhost` with its port.
    #[default]
    Rewrite,
    /// The name in the browser.
    Preserve,
}

/// The key of a Secret that holds a password.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PasswordSecretRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub name: String,
    /// The key in it. Default `password`.
    #[serde(default = "default_password_key")]
    #[schemars(length(min = 1, max = 253), regex(pattern = "^[-._a-zA-Z0-9]+$"))]
    pub key: String,
}

fn default_password_key() -> String {
    "password".to_owned()
}
