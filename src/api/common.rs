//! Types that several kinds share.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Environment variables that Berth or the tool chain sets itself. A Workspace or Template that
/// names one is refused, since the value would silently lose.
pub const RESERVED_ENV: &[&str] = &[
    "AGENT_TOKEN",
    "AGENT_VERSION",
    "GATEWAY_URL",
    "GIT_ASKPASS",
    "GIT_SSH_COMMAND",
    "HOME",
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "SSH_ASKPASS",
];

/// Environment variables beginning with one of these are reserved too.
pub const RESERVED_ENV_PREFIXES: &[&str] = &["BERTH_", "WORKSPACE_"];

/// One environment variable, with a value or a reference to one.
#[derive(Clone, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.value) != has(self.valueFrom)")
        .message("exactly one of value and valueFrom must be set"),
)]
pub struct EnvVar {
    /// Name of the variable: a letter or an underscore, then letters, digits and underscores; at
    /// most 128 characters. Names that Berth sets itself (`BERTH_*`, `WORKSPACE_*`, `HOME`,
    /// `LD_PRELOAD` and a few more) are refused.
    #[schemars(length(min = 1, max = 128), regex(pattern = "^[A-Za-z_][A-Za-z0-9_]*$"))]
    #[x_kube(
        validation = Rule::new("!(self in ['AGENT_TOKEN','AGENT_VERSION','GATEWAY_URL','GIT_ASKPASS','GIT_SSH_COMMAND','HOME','LD_LIBRARY_PATH','LD_PRELOAD','SSH_ASKPASS']) && !self.startsWith('BERTH_') && !self.startsWith('WORKSPACE_')")
            .message("this variable is reserved: Berth sets it itself (BERTH_*, WORKSPACE_*, HOME, LD_PRELOAD, LD_LIBRARY_PATH, GIT_ASKPASS, GIT_SSH_COMMAND, SSH_ASKPASS, GATEWAY_URL, AGENT_TOKEN, AGENT_VERSION)"),
    )]
    pub name: String,
    /// The value, taken literally: nothing in it is expanded. At most 4096 characters, and not
    /// secret: it is readable by everyone who may read this object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub value: Option<String>,
    /// Where the value comes from instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_from: Option<EnvVarSource>,
}

/// Where the value of an environment variable comes from: exactly one of the two.
#[derive(Clone, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.secretKeyRef) != has(self.configMapKeyRef)")
        .message("exactly one of secretKeyRef and configMapKeyRef must be set"),
)]
pub struct EnvVarSource {
    /// A key of a Secret in the namespace of the object. Inside the workspace the value stands in
    /// a file that only the workspace user can read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<KeyRef>,
    /// A key of a ConfigMap in the namespace of the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_key_ref: Option<KeyRef>,
}

/// One key of a Secret or ConfigMap.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyRef {
    /// Name of the Secret or ConfigMap.
    #[schemars(length(min = 1, max = 253), regex(pattern = "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub name: String,
    /// The key in it.
    #[schemars(length(min = 1, max = 253), regex(pattern = "^[-._a-zA-Z0-9]+$"))]
    pub key: String,
    /// `true`: go on without the variable when the object or the key does not exist. Otherwise
    /// the workspace waits for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
}

/// All keys of one Secret or ConfigMap as environment variables: exactly one of the two.
#[derive(Clone, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.secretRef) != has(self.configMapRef)")
        .message("exactly one of secretRef and configMapRef must be set"),
)]
pub struct EnvFromSource {
    /// Put before every key to make the name of the variable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), regex(pattern = "^[A-Za-z_][A-Za-z0-9_]*$"))]
    pub prefix: Option<String>,
    /// A Secret in the namespace of the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<ObjectRef>,
    /// A ConfigMap in the namespace of the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_ref: Option<ObjectRef>,
}

/// A Secret or ConfigMap as a whole.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectRef {
    /// Name of the Secret or ConfigMap.
    #[schemars(length(min = 1, max = 253), regex(pattern = "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub name: String,
    /// `true`: go on when the object does not exist. Otherwise the workspace waits for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
}

/// A Secret by name, in the namespace of the object that names it.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub name: String,
}

/// One key of a Secret, in the namespace of the object that names it.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub name: String,
    /// The key in it. Absent: `ssh-privatekey` for an SSH key, `token` for a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = "^[-._a-zA-Z0-9]+$"))]
    pub key: Option<String>,
}

/// How much of its host a workspace may use. What is absent comes from the Template, then from
/// the operator's configuration; the outcome is shown in `status.resolved`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Resources {
    /// CPU time in cores, as a Kubernetes quantity: `2`, `500m`. From `100m` up to the
    /// operator's configured maximum (16 unless set).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "cpu_schema")]
    pub cpu: Option<Quantity>,
    /// Memory, as a Kubernetes quantity: `2Gi`, `512Mi`. From `64Mi` up to the operator's
    /// configured maximum (16Gi unless set). A workspace that needs more has processes killed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "memory_schema")]
    pub memory: Option<Quantity>,
    /// Greatest number of processes and threads at once, 64 to 65536.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 64, max = 65536))]
    pub pids: Option<i64>,
    /// Size of the container's disk, as a Kubernetes quantity: `50Gi`. For Proxmox VE backends
    /// only; the template's disk is grown to it and never shrunk. From `1Gi`. Absent: the
    /// Template's, else the operator's configured size (50Gi unless set).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "disk_schema")]
    pub disk: Option<Quantity>,
}

const QUANTITY_PATTERN: &str = r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$";

/// Schema of a quantity from a minimum up to a maximum, where there is one.
pub(super) fn quantity_schema(minimum: &str, maximum: Option<&str>) -> schemars::Schema {
    let rule = |comparison: &str, bound: &str, words: &str| {
        serde_json::json!({
            "rule": format!("quantity(string(self)).compareTo(quantity('{bound}')) {comparison} 0"),
            "message": format!("must be {words} {bound}"),
        })
    };
    let mut rules = vec![rule(">=", minimum, "at least")];
    rules.extend(maximum.map(|maximum| rule("<=", maximum, "at most")));
    schemars::json_schema!({
        "anyOf": [{"type": "integer"}, {"type": "string"}],
        "x-kubernetes-int-or-string": true,
        "pattern": QUANTITY_PATTERN,
        "maxLength": 20,
        "x-kubernetes-validations": rules,
    })
}

fn cpu_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    quantity_schema("100m", None)
}

fn disk_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    quantity_schema("1Gi", None)
}

fn memory_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    quantity_schema("64Mi", None)
}
