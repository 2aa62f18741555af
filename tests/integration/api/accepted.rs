//! Manifests that the API server must take.

use serde_json::{Value, json};

use super::{apply, manifest, table};

fn workspaces() -> Vec<Value> {
    let repository = |value: Value| json!({"repository": value});
    vec![
        json!({}),
        repository(json!({"url": "https://example.com/a.git"})),
        repository(json!({"url": "http://example.com:8080/a/b/c"})),
        repository(
            json!({"url": "https://me@example.com/a.git", "tokenSecretRef": {"name": "s", "key": "k"}}),
        ),
        repository(
            json!({"url": "ssh://git@example.com:2222/a.git", "sshKeySecretRef": {"name": "s"}, "knownHosts": "x"}),
        ),
        repository(json!({"url": "git@example.com:a/b.git", "sshKeySecretRef": {"name": "s"}})),
        repository(
            json!({"url": "https://example.com/a.git", "branch": "feature/one.two_three-4", "depth": 1, "submodules": true}),
        ),
        repository(json!({"url": "https://example.com/a.git", "branch": "v1.2"})),
        json!({"env": [{"name": "_A1", "value": "line\nline '\" $x \u{1}"}]}),
        json!({"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k.x", "optional": true}}}]}),
        json!({"env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "s", "key": "k"}}}]}),
        json!({"envFrom": [{"secretRef": {"name": "s"}}, {"prefix": "P_", "configMapRef": {"name": "c", "optional": true}}]}),
        json!({"resources": {"cpu": 2, "memory": "1Gi", "pids": 64}}),
        json!({"resources": {"cpu": "500m", "memory": "512M"}}),
        json!({"resources": {"cpu": "1.5", "memory": 134217728}}),
        json!({"network": {"dns": {"servers": ["1.1.1.1", "2606:4700:4700::1111"]}}}),
        json!({"operatingMode": "Suspended"}),
        json!({"templateRef": {"name": "base", "namespace": "shared"}}),
        json!({"backend": {"name": "docker", "docker": {"host": "big.example"}}}),
        json!({"git": {"userName": "Änne O'Hara", "userEmail": "a@b.example"}}),
        json!({"deletion": {"retainVolumes": true}}),
    ]
}

fn templates() -> Vec<Value> {
    vec![
        json!({"docker": {"image": "debian:bookworm"}}),
        json!({"docker": {"image": "registry.example.com:5000/a/b@sha256:abc", "pullPolicy": "Always", "imagePullSecrets": [{"name": "s"}]}}),
        json!({"docker": {"image": "a"}, "default": true, "user": "coder", "provisionTimeout": "1h30m"}),
        json!({"docker": {"image": "a"}, "backend": {"name": "docker"}, "resources": {"cpu": 1}, "env": [{"name": "A", "value": ""}]}),
    ]
}

fn devservers() -> Vec<Value> {
    let with = |rest: Value| {
        let mut spec = json!({"workspaceRef": {"name": "w"}, "command": "npm run dev"});
        for (field, value) in rest.as_object().unwrap() {
            spec[field] = value.clone();
        }
        spec
    };
    vec![
        with(json!({})),
        with(
            json!({"command": "cd web\nexec npm run dev -- --host \"$HOST\"", "workdir": "/workspace/a..b"}),
        ),
        with(json!({"port": 65535, "operatingMode": "Stopped", "restartNonce": ""})),
        with(json!({"restart": {"policy": "Never"}, "logs": {"maxBytes": 4096}})),
        with(
            json!({"restart": {"initialDelay": "100ms", "maxDelay": "100ms", "resetAfter": "1h30m", "maxRestarts": 0}}),
        ),
        with(json!({"port": 1, "health": {"path": "/up?x=1", "startupGrace": "0s", "failureThreshold": 0}})),
        with(json!({"errors": {"json": false, "text": false, "fatalPatterns": []}})),
        with(json!({"port": 1, "preview": {"enabled": true, "access": "Private", "lifetime": "8760h"}})),
        with(
            json!({"port": 1, "preview": {"access": "Password", "passwordSecretRef": {"name": "s", "key": "k"}}}),
        ),
        with(json!({"preview": {"enabled": false, "stopProcessOnExpiry": false, "hostHeader": "Preserve"}})),
        with(json!({"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]})),
    ]
}

#[tokio::test]
async fn the_examples_are_taken() {
    let (plane, namespace) = table().await;
    for file in ["template.yaml", "workspace-ssh.yaml", "workspace-https-token.yaml", "devserver.yaml"] {
        let path = crate::support::checkout().join("examples").join(file);
        let path = path.to_str().unwrap();
        plane.kubectl(&["create", "--dry-run=server", "--namespace", &namespace.name, "--filename", path]);
    }
    namespace.delete().await;
}

#[tokio::test]
async fn good_manifests_are_taken() {
    let (plane, namespace) = table().await;
    let rows = workspaces().into_iter().map(|spec| ("Workspace", spec));
    let rows = rows.chain(templates().into_iter().map(|spec| ("Template", spec)));
    for (kind, spec) in rows.chain(devservers().into_iter().map(|spec| ("DevServer", spec))) {
        let output = apply(plane, &namespace, &manifest(kind, spec.clone()));
        assert!(output.status.success(), "{kind} {spec}: {}", String::from_utf8_lossy(&output.stderr));
    }
    namespace.delete().await;
}
