//! The Helm chart: what it renders, what it refuses, and how it behaves on a real control plane.

use std::{
    collections::{BTreeSet, HashMap},
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::OnceLock,
};

use berth::config::Config;
use serde::Deserialize;
use serde_json::Value;

use crate::support::{checkout, control_plane};

mod gateway;
mod life;

/// The value sets that come with the chart, one file each.
const VALUE_SETS: [&str; 4] = ["full", "minimal", "separate", "socket"];
const NAMESPACE: &str = "berth-system";

fn chart() -> PathBuf {
    checkout().join("charts/berth")
}

/// A tool of `hack/tools.sh`, made available on first use.
fn tool(name: &str) -> PathBuf {
    static PROVIDED: OnceLock<()> = OnceLock::new();
    PROVIDED.get_or_init(|| {
        let status =
            Command::new(checkout().join("hack/tools.sh")).args(["helm", "kubectl"]).status().unwrap();
        assert!(status.success(), "hack/tools.sh failed");
    });
    control_plane::tool(name)
}

fn output_of(command: &mut Command) -> Result<String, String> {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&stderr).into_owned();
    if status.success() { Ok(String::from_utf8(stdout).unwrap()) } else { Err(stderr) }
}

/// Helm with folders of its own, so that nothing of the user's is read or written.
fn helm(home: &Path) -> Command {
    let mut command = Command::new(tool("helm"));
    for kind in ["CACHE", "CONFIG", "DATA"] {
        command.env(format!("HELM_{kind}_HOME"), home.join(kind));
    }
    command.env_remove("KUBECONFIG");
    command
}

/// What `helm template` makes of a value set with some values changed.
fn render(values: &str, changes: &[&str]) -> Result<Vec<Value>, String> {
    let home = tempfile::tempdir().unwrap();
    let mut command = helm(home.path());
    command.args(["template", "berth", "--namespace", NAMESPACE, "--kube-version", "1.33.0"]).arg(chart());
    command.arg("--values").arg(chart().join(format!("ci/{values}-values.yaml")));
    for change in changes {
        command.args([if change.ends_with("[]") { "--set-json" } else { "--set" }, change]);
    }
    let text = output_of(&mut command)?;
    let objects =
        serde_yaml::Deserializer::from_str(&text).map(|document| Value::deserialize(document).unwrap());
    Ok(objects.filter(|object| !object.is_null()).collect())
}

fn of_kind<'a>(objects: &'a [Value], kinds: &'a [&str]) -> impl Iterator<Item = &'a Value> {
    objects.iter().filter(|object| kinds.contains(&object["kind"].as_str().unwrap()))
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap()
}

fn words(value: &Value) -> BTreeSet<&str> {
    value.as_array().into_iter().flatten().map(|word| word.as_str().unwrap()).collect()
}

/// The rules of every role that is rendered, with the role's name.
fn rules(objects: &[Value]) -> Vec<(&str, &Value)> {
    of_kind(objects, &["Role", "ClusterRole"])
        .flat_map(|role| role["rules"].as_array().unwrap().iter().map(|rule| (name(role), rule)))
        .collect()
}

fn load(text: &str) -> Config {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("berth.yaml");
    std::fs::write(&file, text).unwrap();
    Config::load(&file).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn configuration(objects: &[Value]) -> Config {
    let map = of_kind(objects, &["ConfigMap"]).next().unwrap();
    load(map["data"]["berth.yaml"].as_str().unwrap())
}

/// The Secrets that the operator makes for itself.
const OWN_SECRETS: [&str; 3] = ["berth-authority", "berth-gateway", "berth-keys"];

#[test]
fn no_role_reads_more_secrets_than_the_ones_it_is_pointed_at() {
    for values in VALUE_SETS {
        for (role, rule) in rules(&render(values, &[]).unwrap()) {
            if words(&rule["resources"]).contains("secrets") {
                let (verbs, names) = (words(&rule["verbs"]), words(&rule["resourceNames"]));
                let expected = match (role, names.is_empty()) {
                    ("berth-references", true) => verbs == ["get"].into(),
                    // A creation cannot be restricted to a name, and reads nothing.
                    ("berth", true) => verbs == ["create"].into(),
                    (_, true) => false,
                    (_, false) => {
                        names.is_subset(&OWN_SECRETS.into()) && verbs.is_subset(&["get", "patch"].into())
                    }
                };
                assert!(expected, "{values}: {role} may {verbs:?} {names:?}");
            }
            for list in ["apiGroups", "resources", "verbs"] {
                assert!(!words(&rule[list]).contains("*"), "{values}: {role} has a wildcard in {list}");
            }
        }
    }
}

#[test]
fn secrets_are_readable_only_where_that_was_asked_for() {
    let bindings = |changes: &[&str]| -> Vec<(String, Option<String>)> {
        let objects = render("socket", changes).unwrap();
        of_kind(&objects, &["RoleBinding", "ClusterRoleBinding"])
            .filter(|binding| binding["roleRef"]["name"] == "berth-references")
            .map(|binding| {
                let namespace = binding["metadata"]["namespace"].as_str().map(str::to_owned);
                (binding["kind"].as_str().unwrap().to_owned(), namespace)
            })
            .collect()
    };
    assert_eq!(bindings(&["rbac.secretNamespaces=[]"]), []);
    assert_eq!(
        bindings(&["rbac.secretNamespaces={a,b}"]),
        ["a", "b"].map(|namespace| ("RoleBinding".to_owned(), Some(namespace.to_owned())))
    );
    assert_eq!(
        bindings(&["rbac.secretNamespaces=[]", "rbac.secretAccess=Cluster"]),
        [("ClusterRoleBinding".to_owned(), None)]
    );
}

#[test]
fn the_operator_never_gets_to_write_a_spec_and_people_never_a_status() {
    for values in VALUE_SETS {
        for (role, rule) in rules(&render(values, &[]).unwrap()) {
            let (resources, verbs) = (words(&rule["resources"]), words(&rule["verbs"]));
            let person = ["berth-view", "berth-edit", "berth-admin"].contains(&role);
            if person {
                let own_kinds = words(&rule["apiGroups"]).contains("berth.dev");
                let parts = resources.iter().any(|resource| resource.contains('/'));
                assert!(own_kinds != parts, "{values}: {role}");
            } else if role == "berth-gateway" && resources.contains("workspaces") {
                assert_eq!(verbs, BTreeSet::from(["list", "watch"]), "{values}: {role}");
            } else if resources.contains("workspaces") || resources.contains("templates") {
                assert_eq!(verbs, BTreeSet::from(["get", "list", "watch", "patch"]), "{values}: {role}");
            }
        }
    }
}

#[test]
fn where_namespaces_are_named_no_right_on_workspaces_goes_beyond_them() {
    let objects = render("full", &["rbac.secretAccess=Namespaces"]).unwrap();
    let everywhere: BTreeSet<_> = of_kind(&objects, &["ClusterRoleBinding"]).map(name).collect();
    // Who somebody is and what they may do, and the one APIService.
    assert_eq!(everywhere, BTreeSet::from(["berth-apiservice", "berth-reviews"]));
    let bound: Vec<_> = of_kind(&objects, &["RoleBinding"])
        .map(|binding| {
            (binding["metadata"]["namespace"].as_str().unwrap(), binding["roleRef"]["name"].as_str().unwrap())
        })
        .collect();
    assert_eq!(
        bound,
        [
            (NAMESPACE, "berth-gateway"),
            ("kube-system", "extension-apiserver-authentication-reader"),
            ("team-a", "berth"),
            ("team-b", "berth"),
            ("shared", "berth-templates"),
            (NAMESPACE, "berth"),
        ]
    );
}

#[test]
fn the_definitions_are_those_of_this_build_and_are_kept() {
    let objects = render("socket", &[]).unwrap();
    let rendered: HashMap<_, _> =
        of_kind(&objects, &["CustomResourceDefinition"]).map(|crd| (name(crd), crd)).collect();
    let built = berth::api::crd::all();
    assert_eq!(rendered.len(), built.len());
    for crd in built {
        let crd = serde_json::to_value(&crd).unwrap();
        let found = rendered[name(&crd)];
        assert!(found["spec"] == as_helm_writes(&crd["spec"]), "{}: run `make crds`", name(&crd));
        assert_eq!(found["metadata"]["annotations"]["helm.sh/resource-policy"], "keep");
        assert_eq!(found["metadata"]["labels"]["app.kubernetes.io/managed-by"], "Helm");
    }
    let none = render("socket", &["crds.install=false"]).unwrap();
    assert_eq!(of_kind(&none, &["CustomResourceDefinition"]).count(), 0);
}

/// Helm knows one kind of number, and writes 64.0 as 64.
fn as_helm_writes(value: &Value) -> Value {
    match value {
        Value::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() && float.fract() == 0.0 => Value::from(float as i64),
            _ => value.clone(),
        },
        Value::Array(list) => list.iter().map(as_helm_writes).collect(),
        Value::Object(map) => map.iter().map(|(key, child)| (key.clone(), as_helm_writes(child))).collect(),
        other => other.clone(),
    }
}

#[test]
fn the_operator_accepts_every_configuration_that_is_rendered() {
    for values in VALUE_SETS {
        configuration(&render(values, &[]).unwrap());
    }
}

#[test]
fn defaults_of_the_chart_and_of_the_sample_are_the_operators_own() {
    let own = load("backends: [{name: memory, memory: {}}]");
    let chart = configuration(&render("minimal", &[]).unwrap());
    assert_eq!(format!("{chart:#?}"), format!("{own:#?}"));

    let sample = Config::load(&checkout().join("config/berth.yaml")).unwrap();
    let own = load(
        "backends: [{name: docker, docker: {hosts: [{name: local, endpoint: 'unix:///var/run/docker.sock'}]}}]",
    );
    assert_eq!(format!("{sample:#?}"), format!("{own:#?}"));
}

#[test]
fn the_process_is_confined() {
    for values in VALUE_SETS {
        let objects = render(values, &[]).unwrap();
        for deployment in of_kind(&objects, &["Deployment"]) {
            let pod = &deployment["spec"]["template"]["spec"];
            let container = &pod["containers"][0];
            assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
            assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
            assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
            assert_eq!(container["securityContext"]["allowPrivilegeEscalation"], false);
            assert_eq!(container["securityContext"]["capabilities"]["drop"][0], "ALL");
            let sockets =
                pod["volumes"].as_array().unwrap().iter().filter(|volume| !volume["hostPath"].is_null());
            let wanted = ["socket", "separate"].contains(&values) && name(deployment) != "berth-gateway";
            assert_eq!(sockets.count(), usize::from(wanted), "{values}");
        }
    }
}

#[test]
fn the_port_follows_the_configuration() {
    let objects = render("full", &[]).unwrap();
    let deployment = of_kind(&objects, &["Deployment"]).next().unwrap();
    assert_eq!(deployment["spec"]["template"]["spec"]["containers"][0]["ports"][0]["containerPort"], 9090);
}

#[rstest::rstest]
#[case("imagee.tag=1", "additional properties 'imagee' not allowed")]
#[case("replicas=two", "at '/replicas': got string, want integer")]
#[case("config.backnds=1", "at '/config': additional properties 'backnds' not allowed")]
#[case("config.namespace=other", "at '/config': additional properties 'namespace' not allowed")]
#[case("config.log.format=xml", "at '/config/log/format': value must be one of 'Json', 'Text'")]
#[case("config.orphans.policy=delete", "value must be one of 'Report', 'Delete'")]
#[case("config.timeouts.stop=soon", "at '/config/timeouts/stop': 'soon' does not match pattern")]
#[case("config.controller.concurrency=0", "at '/config/controller/concurrency': minimum: got 0, want 1")]
#[case("config.backends[0].name=Docker", "at '/config/backends/0/name': 'Docker' does not match pattern")]
#[case("config.backends[0].docker.hosts[0].endpoint=tcp://h:2376", "missing property 'tls'")]
#[case("config.backends[0].docker.hosts[0].endpoint=ssh://u@h", "missing property 'ssh'")]
#[case("config.backends[0].docker.networkRange=10.0.0.0/29", "does not match pattern")]
#[case("config.backends[0].tenantsMaySet[0]=host", "value must be 'docker.host'")]
#[case("config.backends[0].memory.seed=1", "'oneOf' failed, subschemas 0, 1 matched")]
#[case("config.backends=[]", "config.backends is empty: name at least one Docker host")]
#[case(
    "config.defaultBackend=other",
    "config.defaultBackend: \"other\" is not the name of a backend; there is docker"
)]
#[case("config.gateway.listen=1", "at '/config/gateway': missing property 'publicURL'")]
#[case("config.gateway.publicURL=berth.example.com", "does not match pattern")]
#[case("gateway.mode=Both", "value must be one of 'All', 'Separate'")]
#[case("gateway.mode=Separate", "there is no gateway: set config.gateway")]
#[case("gateway.ingress.enabled=true", "there is no gateway: set config.gateway")]
#[case("rbac.secretAccess=All", "value must be one of 'Namespaces', 'Cluster'")]
#[case("rbac.secretAccess=Cluster", "at '/rbac/secretNamespaces': maxItems: got 1, want 0")]
fn bad_values_are_refused_in_words_that_help(#[case] change: &str, #[case] words: &str) {
    let error = render("socket", &[change]).unwrap_err();
    assert!(error.contains(words), "{error}");
}

#[test]
fn helm_finds_nothing_to_complain_of() {
    let home = tempfile::tempdir().unwrap();
    output_of(helm(home.path()).args(["lint", "--strict"]).arg(chart())).unwrap();
    for values in VALUE_SETS {
        let file = chart().join(format!("ci/{values}-values.yaml"));
        output_of(helm(home.path()).args(["lint", "--strict"]).arg(chart()).arg("--values").arg(file))
            .unwrap();
    }
}
