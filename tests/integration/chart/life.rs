//! Installed, upgraded, uninstalled and installed again on a real control plane.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use berth::api::Workspace;
use kube::{
    Api,
    api::{Patch, PatchParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::{Value, json};

use super::{NAMESPACE, chart, helm, output_of, tool};
use crate::support::control_plane::ControlPlane;

const OPERATOR: &str = "system:serviceaccount:berth-system:berth";
const WORKSPACE: &str =
    "apiVersion: berth.dev/v1alpha1\nkind: Workspace\nmetadata: {name: w, namespace: default}\nspec: {}\n";

/// A control plane of its own, since definitions and admission policies are everybody's.
struct Cluster {
    plane: ControlPlane,
    folder: tempfile::TempDir,
}

impl Cluster {
    fn start() -> Self {
        Self { plane: ControlPlane::start("chart"), folder: tempfile::tempdir().unwrap() }
    }

    fn kubeconfig(&self) -> PathBuf {
        self.plane.kubeconfig()
    }

    fn helm(&self, arguments: &[&str]) -> Result<String, String> {
        let mut command = helm(&self.folder.path().join("helm"));
        output_of(
            command
                .arg("--kubeconfig")
                .arg(self.kubeconfig())
                .args(["--namespace", NAMESPACE])
                .args(arguments),
        )
    }

    fn kubectl(&self, arguments: &[&str]) -> Result<String, String> {
        output_of(Command::new(tool("kubectl")).arg("--kubeconfig").arg(self.kubeconfig()).args(arguments))
    }

    fn apply(&self, text: &str) {
        let output = self.plane.kubectl_with_input(&["apply", "-f", "-"], text);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn has(&self, object: &str) -> bool {
        match self.kubectl(&["get", "--namespace", NAMESPACE, object]) {
            Ok(_) => true,
            Err(error) if error.contains("NotFound") => false,
            Err(error) => panic!("{object}: {error}"),
        }
    }

    fn may(&self, verb: &str, resource: &str, namespace: &str) -> bool {
        let (resource, subresource) = match resource.split_once("/status") {
            Some((resource, "")) => (resource, "--subresource=status"),
            _ => (resource, "--subresource="),
        };
        let arguments =
            ["auth", "can-i", verb, resource, subresource, "--namespace", namespace, "--as", OPERATOR];
        self.kubectl(&arguments).is_ok_and(|answer| answer.trim() == "yes")
    }

    /// Writes a status as the operator does, in the name of the administrator or of somebody else.
    fn write_status(&self, user: Option<&str>) -> Result<(), String> {
        let options = KubeConfigOptions::default();
        let mut kubeconfig = Kubeconfig::read_from(self.kubeconfig()).unwrap();
        let login = kubeconfig.auth_infos[0].auth_info.as_mut().unwrap();
        login.impersonate = user.map(str::to_owned);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap();
            let api: Api<Workspace> = Api::namespaced(kube::Client::try_from(config).unwrap(), "default");
            let body = json!({"apiVersion": "berth.dev/v1alpha1", "kind": "Workspace", "status": {"phase": "Running"}});
            let parameters = PatchParams::apply("berth").force();
            let written = api.patch_status("w", &parameters, &Patch::Apply(&body)).await;
            written.map(drop).map_err(|error| error.to_string())
        })
    }
}

/// Admission policies take a moment until they hold.
fn eventually<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(found) = attempt() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what} did not come to be");
        std::thread::sleep(Duration::from_millis(250));
    }
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

const NAMESPACED: [&str; 7] = [
    "deployment/berth",
    "configmap/berth-config",
    "serviceaccount/berth",
    "service/berth",
    "role/berth",
    "rolebinding/berth",
    "poddisruptionbudget/berth",
];
const CLUSTER_WIDE: [&str; 8] = [
    "clusterrole/berth",
    "clusterrole/berth-references",
    "clusterrole/berth-view",
    "clusterrole/berth-edit",
    "clusterrole/berth-admin",
    "clusterrolebinding/berth",
    "validatingadmissionpolicy/berth-status",
    "validatingadmissionpolicybinding/berth-status",
];
/// What a gateway of its own adds.
const GATEWAY: [&str; 9] = [
    "apiservice/v1alpha1.subresources.berth.dev",
    "deployment/berth-controller",
    "deployment/berth-gateway",
    "service/berth-gateway",
    "service/berth-aggregated",
    "serviceaccount/berth-gateway",
    "role/berth-gateway",
    "clusterrole/berth-gateway",
    "clusterrolebinding/berth-reviews",
];
const DEFINITIONS: [&str; 3] =
    ["crd/workspaces.berth.dev", "crd/templates.berth.dev", "crd/devservers.berth.dev"];

#[test]
fn a_release_comes_changes_goes_and_comes_again() {
    let cluster = Cluster::start();
    let (chart, values) = (chart(), chart().join("ci/socket-values.yaml"));
    let release = ["berth", path(&chart), "--values", path(&values), "--set", "replicas=2"];

    let notes = cluster.helm(&[&["install", "--create-namespace"], &release[..]].concat()).unwrap();
    assert!(notes.contains("kubectl get ws hello"), "{notes}");
    for object in NAMESPACED.iter().chain(&CLUSTER_WIDE).chain(&DEFINITIONS) {
        assert!(cluster.has(object), "{object} is missing after the installation");
    }

    rights_are_small(&cluster);
    only_the_operator_writes_a_status(&cluster);

    // An older definition becomes this chart's with the next upgrade.
    let older = r#"{"spec":{"names":{"shortNames":["old"]}}}"#;
    cluster.kubectl(&["patch", "crd", "workspaces.berth.dev", "--type=merge", "--patch", older]).unwrap();
    let forced = ["upgrade", "--force-conflicts"];
    cluster.helm(&[&forced, &release[..], &["--set", "config.log.filter=debug"]].concat()).unwrap();
    let names = cluster
        .kubectl(&["get", "crd/workspaces.berth.dev", "-o", "jsonpath={.spec.names.shortNames}"])
        .unwrap();
    assert_eq!(names, r#"["ws"]"#);
    let config =
        cluster.kubectl(&["get", "configmap/berth-config", "--namespace", NAMESPACE, "-o", "json"]).unwrap();
    let config: Value = serde_json::from_str(&config).unwrap();
    assert!(config["data"]["berth.yaml"].as_str().unwrap().contains("filter: debug"));

    the_gateway_comes_and_keeps_the_authority(&cluster, &release);

    cluster.helm(&["uninstall", "berth"]).unwrap();
    for object in NAMESPACED.iter().chain(&CLUSTER_WIDE).chain(&GATEWAY) {
        assert!(!cluster.has(object), "{object} is left after the uninstallation");
    }
    for object in DEFINITIONS {
        assert!(cluster.has(object), "{object} must be kept: every Workspace goes with it");
    }
    assert!(cluster.kubectl(&["get", "workspace", "w"]).is_ok(), "the Workspaces must be kept");

    cluster
        .helm(&[&["install"], &release[..]].concat())
        .expect("the definitions that were kept are taken over");
    assert!(cluster.has("deployment/berth"));
}

/// The operator writes its authority into the APIService; an upgrade of the chart must leave it.
fn the_gateway_comes_and_keeps_the_authority(cluster: &Cluster, release: &[&str]) {
    let gateway = ["--set", "config.gateway.publicURL=https://berth.example.com,gateway.mode=Separate"];
    cluster.helm(&[&["upgrade"], release, &gateway].concat()).unwrap();
    for object in GATEWAY {
        assert!(cluster.has(object), "{object} is missing after the upgrade");
    }
    assert!(!cluster.has("deployment/berth"), "there are two controllers now");
    let authority = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0t";
    let patch = json!({"spec": {"caBundle": authority}}).to_string();
    let arguments = ["patch", GATEWAY[0], "--type=merge", "--patch", &patch];
    cluster.kubectl(&[&arguments[..], &["--field-manager=berth-certificates"]].concat()).unwrap();
    let again = [&["upgrade"], release, &gateway, &["--set", "config.log.filter=debug"]].concat();
    cluster.helm(&again).unwrap();
    let kept = cluster.kubectl(&["get", GATEWAY[0], "-o", "jsonpath={.spec.caBundle}"]).unwrap();
    assert_eq!(kept, authority);
    cluster.helm(&[&["upgrade"], release].concat()).unwrap();
    assert!(!cluster.has(GATEWAY[0]) && cluster.has("deployment/berth"));
    cluster.helm(&again).unwrap();
}

fn rights_are_small(cluster: &Cluster) {
    for (verb, resource) in [
        ("list", "workspaces.berth.dev"),
        ("patch", "workspaces.berth.dev"),
        ("patch", "workspaces.berth.dev/status"),
        ("patch", "templates.berth.dev"),
        ("patch", "templates.berth.dev/status"),
        ("create", "events.events.k8s.io"),
    ] {
        assert!(cluster.may(verb, resource, "default"), "the operator may not {verb} {resource}");
    }
    for (verb, resource) in [
        ("list", "secrets"),
        ("watch", "secrets"),
        ("create", "secrets"),
        ("list", "configmaps"),
        ("create", "workspaces.berth.dev"),
        ("update", "workspaces.berth.dev"),
        ("delete", "workspaces.berth.dev"),
        ("update", "templates.berth.dev"),
        ("get", "pods"),
        ("create", "leases.coordination.k8s.io"),
    ] {
        assert!(!cluster.may(verb, resource, "default"), "the operator may {verb} {resource}");
    }
    // The values name `default` and nothing else.
    assert!(cluster.may("get", "secrets", "default"));
    assert!(!cluster.may("get", "secrets", "kube-system"));
    assert!(!cluster.may("get", "secrets", NAMESPACE));
    assert!(cluster.may("get", "namespaces/kube-system", NAMESPACE));
    assert!(!cluster.may("get", "namespaces/default", NAMESPACE));
    assert!(cluster.may("create", "leases.coordination.k8s.io", NAMESPACE));
    assert!(cluster.may("update", "leases.coordination.k8s.io/berth", NAMESPACE));
    assert!(!cluster.may("update", "leases.coordination.k8s.io/other", NAMESPACE));
    assert!(cluster.may("patch", "configmaps/berth-ledger", NAMESPACE));
    assert!(!cluster.may("patch", "configmaps/berth-config", NAMESPACE));
}

fn only_the_operator_writes_a_status(cluster: &Cluster) {
    let established = ["wait", "--for=condition=Established", "crd/workspaces.berth.dev", "--timeout=60s"];
    cluster.kubectl(&established).unwrap();
    eventually("the resource", || cluster.kubectl(&["get", "workspaces"]).ok());
    cluster.apply(WORKSPACE);
    let refusal = eventually("the admission policy", || cluster.write_status(None).err());
    let words = format!("only the operator ({OPERATOR}) may write the status of workspaces");
    assert!(refusal.contains(&words), "{refusal}");
    cluster.write_status(Some(OPERATOR)).expect("the operator may write the status");
    // What is not the status is anybody's who has the right.
    cluster.kubectl(&["label", "workspace", "w", "a=b"]).unwrap();
}
