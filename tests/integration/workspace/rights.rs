//! The operator with exactly the rights that the chart gives its service account.

use std::{path::PathBuf, process::Command};

use berth::api::DevServer;
use kube::{ResourceExt, api::PostParams};
use serde_json::{Value, json};

use crate::support::{
    ControlPlane, Docker, Namespace, Operator, Settings, checkout, control_plane, control_plane::tool,
    eventually, git_server, git_server::TOKEN, objects::*,
};

/// Applies the service account and the rights that the chart renders, and nothing else of it.
fn grant(plane: &ControlPlane, namespace: &Namespace, secret_namespaces: &[&str]) {
    grant_with(plane, namespace, secret_namespaces, json!({}));
}

/// The same with more values. Names of their own keep runs of the shared cluster apart.
fn grant_with(plane: &ControlPlane, namespace: &Namespace, secret_namespaces: &[&str], more: Value) {
    let mut values = json!({
        "fullnameOverride": namespace.name,
        "serviceAccount": {"name": "berth"},
        "config": {
            "instance": "rights",
            "watchNamespaces": [namespace.name],
            "backends": [{"name": "docker", "docker": {"hosts": [{"name": "local", "endpoint": "unix:///var/run/docker.sock"}]}}],
        },
        "rbac": {"secretAccess": "Namespaces", "secretNamespaces": secret_namespaces},
        "crds": {"install": false},
        "userRoles": {"create": false},
        "admissionPolicy": {"enabled": false},
    });
    merge(&mut values, more);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("values.yaml");
    std::fs::write(&file, values.to_string()).unwrap();
    let rendered = Command::new(tool("helm"))
        .args(["template", "berth", "--namespace", &namespace.name, "--values"])
        .arg(&file)
        .arg(checkout().join("charts/berth"))
        .env_remove("KUBECONFIG")
        .output()
        .unwrap();
    assert!(rendered.status.success(), "{}", String::from_utf8_lossy(&rendered.stderr));
    let wanted = ["ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"];
    let text = String::from_utf8(rendered.stdout).unwrap();
    let objects: Vec<String> = text
        .split("\n---")
        .filter_map(|part| serde_yaml::from_str::<Value>(part.trim_start_matches("---")).ok())
        .filter(|object| wanted.contains(&object["kind"].as_str().unwrap_or_default()))
        .map(|object| object.to_string())
        .collect();
    assert!(objects.len() >= 4, "{objects:?}");
    let list = format!("{{\"apiVersion\":\"v1\",\"kind\":\"List\",\"items\":[{}]}}", objects.join(","));
    let applied = plane.kubectl_with_input(&["apply", "--filename", "-"], &list);
    assert!(applied.status.success(), "{}", String::from_utf8_lossy(&applied.stderr));
}

fn merge(values: &mut Value, more: Value) {
    match (values, more) {
        (Value::Object(values), Value::Object(more)) => {
            for (key, child) in more {
                merge(values.entry(key).or_insert(Value::Null), child);
            }
        }
        (values, more) => *values = more,
    }
}

/// A kubeconfig for a service account, with the administrator's address of the API server.
fn kubeconfig(
    plane: &ControlPlane,
    namespace: &Namespace,
    account: &str,
    folder: &tempfile::TempDir,
) -> PathBuf {
    let token = plane.kubectl(&["create", "token", account, "--namespace", &namespace.name]);
    let text = std::fs::read_to_string(plane.kubeconfig()).unwrap();
    let mut config: Value = serde_yaml::from_str(&text).unwrap();
    for user in config["users"].as_array_mut().unwrap() {
        user["user"] = json!({"token": token.trim()});
    }
    let file = folder.path().join(account);
    std::fs::write(&file, serde_yaml::to_string(&config).unwrap()).unwrap();
    file
}

async fn operator(
    plane: &ControlPlane,
    namespace: &Namespace,
    folder: &tempfile::TempDir,
) -> (Docker, Operator) {
    let mut settings = Settings::docker(kubeconfig(plane, namespace, "berth", folder), &namespace.name);
    settings.config["backends"][0]["docker"]["caBundleFile"] = json!(git_server().await.ca_file());
    let docker = Docker::of(&settings.instance);
    (docker, Operator::start(settings).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_charts_rights_are_enough_for_a_whole_life() {
    let plane = control_plane().await;
    let namespace = plane.namespace("rights").await;
    grant(plane, &namespace, &[&namespace.name]);
    let folder = tempfile::tempdir().unwrap();
    let (docker, operator) = operator(plane, &namespace, &folder).await;
    template(&namespace).await;
    secret(&namespace, "secrets", json!({"token": TOKEN, "password": "hunter2"})).await;
    let spec = json!({
        "repository": {"url": git_server().await.private(), "tokenSecretRef": {"name": "secrets"}},
        "env": [{"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "secrets", "key": "password"}}}],
    });
    workspace(&namespace, "one", spec).await;
    let made = ready(&namespace, "one").await;
    let container = made.status.unwrap().container.unwrap().name.unwrap();
    assert_eq!(docker.exec(&container, "dev", "printf %s \"$PASSWORD\""), "hunter2");
    assert!(!docker.inspect(&container, "{{json .}}").contains("hunter2"));
    assert_eq!(docker.exec(&container, "root", "stat -c '%U %a' /run/berth/secrets.env"), "dev 600");
    assert!(docker.exec(&container, "root", "grep -rl hunter2 /etc /home || true").is_empty());

    let devserver = json!({
        "apiVersion": "berth.dev/v1alpha1", "kind": "DevServer", "metadata": {"name": "web"},
        "spec": {"workspaceRef": {"name": "one"}, "command": "true"},
    });
    let devserver: DevServer = serde_json::from_value(devserver).unwrap();
    namespace.api::<DevServer>().create(&PostParams::default(), &devserver).await.unwrap();
    let seen = || async {
        let found = namespace.api::<DevServer>().get("web").await.unwrap();
        if found.owner_references().len() == 1 && found.status.is_some() { Ok(()) } else { Err(found) }
    };
    eventually(PATIENCE, "the DevServer belongs to its Workspace", seen).await;

    patch(&namespace, "one", json!({"spec": {"operatingMode": "Suspended"}})).await;
    phase(&namespace, "one", "Suspended").await;
    patch(&namespace, "one", json!({"spec": {"operatingMode": "Running"}})).await;
    ready(&namespace, "one").await;
    let events = plane.kubectl(&["get", "events", "--namespace", &namespace.name, "--output", "name"]);
    assert!(events.lines().filter(|line| line.contains("/one.")).count() >= 4, "{events}");
    delete(&namespace, "one").await;
    gone(&namespace, "one").await;
    assert_eq!(docker.everything(), Vec::<String>::new());
    let log = operator.log();
    assert!(!log.contains("forbidden"), "{log}");
    namespace.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_can_not_be_read_where_that_was_not_granted() {
    let plane = control_plane().await;
    let namespace = plane.namespace("norights").await;
    grant(plane, &namespace, &[]);
    let folder = tempfile::tempdir().unwrap();
    let (_docker, _operator) = operator(plane, &namespace, &folder).await;
    template(&namespace).await;
    secret(&namespace, "secrets", json!({"password": "hunter2"})).await;
    let spec = json!({"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "secrets", "key": "password"}}}]});
    workspace(&namespace, "one", spec).await;
    let refused = broken(&namespace, "one", "SecretForbidden").await;
    assert!(condition(&refused, "Ready").contains("bind the ClusterRole"), "{}", describe(&refused));
    namespace.delete().await;
}

/// Somebody who may look at what a workspace uses, and nothing more, with a token for the gateway.
fn person(plane: &ControlPlane, namespace: &Namespace) -> String {
    let objects = json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "person", "namespace": namespace.name}},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
            "metadata": {"name": "person", "namespace": namespace.name},
            "rules": [{"apiGroups": ["subresources.berth.dev"], "resources": ["workspaces/stats"], "verbs": ["get"]}],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": {"name": "person", "namespace": namespace.name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "person"},
            "subjects": [{"kind": "ServiceAccount", "name": "person", "namespace": namespace.name}],
        },
    ]});
    let applied = plane.kubectl_with_input(&["apply", "--filename", "-"], &objects.to_string());
    assert!(applied.status.success(), "{}", String::from_utf8_lossy(&applied.stderr));
    let token = ["create", "token", "person", "--audience", "berth", "--namespace", &namespace.name];
    plane.kubectl(&token).trim().to_owned()
}

/// The code of what the gateway answers to somebody who asks about the Workspace `one`.
fn ask(gateway: &str, namespace: &Namespace, token: &str, subresource: &str) -> String {
    let url = format!("{gateway}/api/v1/namespaces/{}/workspaces/one/{subresource}", namespace.name);
    let output = Command::new("curl")
        .args(["--silent", "--output", "/dev/null", "--write-out", "%{http_code}", "--header"])
        .arg(format!("Authorization: Bearer {token}"))
        .arg(url)
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[rstest::rstest]
#[case::in_one_process("All")]
#[case::in_two_processes("Separate")]
#[tokio::test(flavor = "multi_thread")]
async fn the_charts_rights_are_enough_for_a_gateway(#[case] mode: &str) {
    let plane = control_plane().await;
    let namespace = plane.namespace("gatewayrights").await;
    let gateway = json!({
        "config": {"gateway": {"publicURL": "https://berth.example.com"}},
        "gateway": {"mode": mode},
    });
    grant_with(plane, &namespace, &[], gateway);
    let folder = tempfile::tempdir().unwrap();
    let mut settings =
        Settings::with_gateway(kubeconfig(plane, &namespace, "berth", &folder), &namespace.name);
    // Nobody's kube-apiserver connects here: what it takes to serve it is asked for all the same.
    settings.config["gateway"]["aggregated"] = json!({"listen": "127.0.0.1:0", "service": "berth"});
    let (url, docker) = (settings.gateway_url(), Docker::of(&settings.instance));
    let mut operators = Vec::new();
    if mode == "Separate" {
        let account = format!("{}-gateway", namespace.name);
        let gateway = Settings {
            kubeconfig: kubeconfig(plane, &namespace, &account, &folder),
            role: "gateway",
            ..settings.clone()
        };
        settings.role = "controller";
        operators.push(Operator::start(gateway).await);
    }
    operators.push(Operator::start(settings).await);
    template(&namespace).await;
    workspace(&namespace, "one", json!({})).await;
    let made = ready(&namespace, "one").await;
    assert_eq!(condition(&made, "AgentConnected"), "True Connected: ");

    let token = person(plane, &namespace);
    let answered = || async {
        let code = ask(&url, &namespace, &token, "stats");
        if code == "200" { Ok(()) } else { Err(code) }
    };
    eventually(PATIENCE, "the gateway answers who may ask", answered).await;
    assert_eq!(ask(&url, &namespace, &token, "files/list"), "403");
    assert_eq!(ask(&url, &namespace, "nobody's", "stats"), "401");

    delete(&namespace, "one").await;
    gone(&namespace, "one").await;
    assert_eq!(docker.everything(), Vec::<String>::new());
    for operator in &operators {
        let log = operator.log();
        let refused: Vec<_> = log.lines().filter(|line| line.contains("is forbidden")).collect();
        assert_eq!(refused, Vec::<&str>::new());
    }
    namespace.delete().await;
}
