//! Manifests that the API server must refuse, each with the words that the user sees.

use serde_json::{Value, json};

use super::{apply, manifest, table};

fn repository(value: Value) -> Value {
    json!({"repository": value})
}

fn url(url: &str) -> Value {
    repository(json!({"url": url}))
}

fn branch(branch: &str) -> Value {
    repository(json!({"url": "https://example.com/a.git", "branch": branch}))
}

fn env(variable: Value) -> Value {
    json!({"env": [variable]})
}

fn resources(value: Value) -> Value {
    json!({"resources": value})
}

fn workspaces() -> Vec<(Value, &'static str)> {
    let many = |count: usize| {
        (0..count).map(|number| json!({"name": format!("V{number}"), "value": ""})).collect::<Vec<_>>()
    };
    let urls =
        "must be https://HOST/PATH, http://HOST/PATH, ssh://USER@HOST/PATH or USER@HOST:PATH, without spaces";
    let branches = "not a valid branch name";
    let token = json!({"name": "s"});
    vec![
        (url("file:///etc"), urls),
        (url("ext::sh -c id"), urls),
        (url("--upload-pack=id"), urls),
        (url("git://example.com/a.git"), urls),
        (url("https://example.com"), urls),
        (url("https://example.com/a b.git"), urls),
        (url("https://example.com/a.git\nx"), urls),
        (url("example.com/a.git"), urls),
        (url("git@example.com:-x"), urls),
        (url(""), "should be at least 1 chars long"),
        (url(&format!("https://example.com/{}", "a".repeat(1024))), "may not be more than 1024"),
        (
            url("https://me:secret@example.com/a.git"),
            "must not contain a password; put it into a Secret and name that in tokenSecretRef",
        ),
        (url("ssh://-oProxyCommand=id/a.git"), "the host must not begin with '-'"),
        (repository(json!({"branch": "main"})), "spec.repository.url: Required value"),
        (branch("-x"), branches),
        (branch("a b"), branches),
        (branch("a..b"), branches),
        (branch("/a"), branches),
        (branch("a/"), branches),
        (branch("a//b"), branches),
        (branch(".a"), branches),
        (branch("a/.b"), branches),
        (branch("a."), branches),
        (branch("a.lock"), branches),
        (branch("a.lock/b"), branches),
        (branch("a@{b"), branches),
        (branch("@"), branches),
        (branch("a~b"), branches),
        (branch("a^b"), branches),
        (branch("a:b"), branches),
        (branch("a?b"), branches),
        (branch("a*b"), branches),
        (branch("a[b"), branches),
        (branch("a\\b"), branches),
        (branch("a\tb"), branches),
        (
            repository(json!({"url": "https://example.com/a.git", "depth": 0})),
            "spec.repository.depth in body should be greater than or equal to 1",
        ),
        (
            repository(json!({"url": "https://example.com/a.git", "depth": 1_000_001})),
            "should be less than or equal to 1000000",
        ),
        (
            repository(json!({"url": "git@example.com:a.git", "tokenSecretRef": token})),
            "tokenSecretRef needs an https:// or http:// URL; use sshKeySecretRef with SSH",
        ),
        (
            repository(json!({"url": "https://example.com/a.git", "sshKeySecretRef": token})),
            "sshKeySecretRef needs an SSH URL",
        ),
        (
            repository(json!({"url": "https://example.com/a.git", "knownHosts": "x"})),
            "knownHosts needs an SSH URL",
        ),
        (
            repository(json!({"url": "https://example.com/a.git", "tokenSecretRef": {"name": "No_Such"}})),
            "spec.repository.tokenSecretRef.name in body should match",
        ),
        (env(json!({"name": "1A", "value": ""})), "spec.env[0].name in body should match"),
        (env(json!({"name": "A-B", "value": ""})), "spec.env[0].name in body should match"),
        (env(json!({"name": "HOME", "value": "/"})), "this variable is reserved: Berth sets it itself"),
        (env(json!({"name": "BERTH_X", "value": ""})), "this variable is reserved"),
        (env(json!({"name": "LD_PRELOAD", "value": ""})), "this variable is reserved"),
        (env(json!({"name": "A"})), "exactly one of value and valueFrom must be set"),
        (
            env(json!({"name": "A", "value": "", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}})),
            "exactly one of value and valueFrom must be set",
        ),
        (
            env(json!({"name": "A", "valueFrom": {}})),
            "exactly one of secretKeyRef and configMapKeyRef must be set",
        ),
        (
            env(json!({"name": "A", "valueFrom": {"secretKeyRef": {"name": "s"}}})),
            "spec.env[0].valueFrom.secretKeyRef.key: Required value",
        ),
        (env(json!({"name": "A", "value": "a".repeat(4097)})), "may not be more than 4096"),
        (json!({"env": [{"name": "A", "value": ""}, {"name": "A", "value": ""}]}), "Duplicate value"),
        (json!({"env": many(65)}), "spec.env: Too many: 65: must have at most 64 items"),
        (json!({"envFrom": [{}]}), "exactly one of secretRef and configMapRef must be set"),
        (
            json!({"envFrom": [{"prefix": "1", "secretRef": {"name": "s"}}]}),
            "spec.envFrom[0].prefix in body should match",
        ),
        (
            resources(json!({"cpu": "10m"})),
            "spec.resources.cpu: Invalid value: \"10m\": must be at least 100m",
        ),
        (resources(json!({"cpu": "fast"})), "spec.resources.cpu in body should match"),
        (resources(json!({"memory": "1Mi"})), "must be at least 64Mi"),
        (resources(json!({"memory": "1 Gi"})), "spec.resources.memory in body should match"),
        (resources(json!({"memory": "-1Gi"})), "spec.resources.memory in body should match"),
        (resources(json!({"pids": 1})), "spec.resources.pids in body should be greater than or equal to 64"),
        (
            json!({"network": {"dns": {"servers": ["dns.example.com"]}}}),
            "every DNS server must be an IP address",
        ),
        (
            json!({"network": {"dns": {"servers": ["1.1.1.1", "1.1.1.2", "1.1.1.3", "1.1.1.4"]}}}),
            "must have at most 3 items",
        ),
        (json!({"operatingMode": "Paused"}), "supported values: \"Running\", \"Suspended\""),
        (json!({"templateRef": {"name": "Not A Name"}}), "spec.templateRef.name in body should match"),
        (json!({"templateRef": {"namespace": "x"}}), "spec.templateRef.name: Required value"),
        (json!({"backend": {"name": "A_B"}}), "spec.backend.name in body should match"),
        (json!({"backend": {"docker": {"host": "a b"}}}), "spec.backend.docker.host in body should match"),
        (json!({"git": {"userEmail": "nobody"}}), "spec.git.userEmail in body should match"),
        (json!({"git": {"userName": "a\nb"}}), "spec.git.userName in body should match"),
        (json!({"deletion": {"retainVolumes": "yes"}}), "spec.deletion.retainVolumes"),
        (json!({"unknown": true}), "unknown field \"spec.unknown\""),
    ]
}

fn templates() -> Vec<(Value, &'static str)> {
    let with = |mut rest: Value| {
        rest["docker"] = json!({"image": "debian"});
        rest
    };
    vec![
        (json!({}), "exactly one of spec.docker and spec.proxmox must be set"),
        (
            json!({"docker": {"image": "a"}, "proxmox": {"vmid": 9000}}),
            "exactly one of spec.docker and spec.proxmox must be set",
        ),
        (json!({"proxmox": {}}), "exactly one of vmid and osTemplate must be set"),
        (json!({"proxmox": {"vmid": 99}}), "should be greater than or equal to 100"),
        (json!({"proxmox": {"vmid": 9000, "packages": ["git"]}}), "packages goes with osTemplate only"),
        (json!({"proxmox": {"osTemplate": "../x"}}), "spec.proxmox.osTemplate in body should match"),
        (json!({"docker": {}}), "spec.docker.image: Required value"),
        (json!({"docker": {"image": ""}}), "should be at least 1 chars long"),
        (json!({"docker": {"image": "-v"}}), "spec.docker.image in body should match"),
        (json!({"docker": {"image": "a b"}}), "spec.docker.image in body should match"),
        (
            json!({"docker": {"image": "a", "pullPolicy": "Sometimes"}}),
            "supported values: \"Always\", \"IfNotPresent\", \"Never\"",
        ),
        (with(json!({"user": "root"})), "the workspace's user must not be root"),
        (with(json!({"user": "Dev"})), "spec.user in body should match"),
        (with(json!({"provisionTimeout": "10"})), "must be a duration such as 10m or 1h30m, from 1m to 24h"),
        (with(json!({"provisionTimeout": "10s"})), "from 1m to 24h"),
        (with(json!({"provisionTimeout": "25h"})), "from 1m to 24h"),
        (with(json!({"backend": {}})), "spec.backend.name: Required value"),
        (with(json!({"env": [{"name": "LD_PRELOAD", "value": "x"}]})), "this variable is reserved"),
    ]
}

fn devservers() -> Vec<(Value, &'static str)> {
    let with = |rest: Value| {
        let mut spec = json!({"workspaceRef": {"name": "w"}, "command": "npm run dev", "port": 3000});
        for (field, value) in rest.as_object().unwrap() {
            spec[field] = value.clone();
        }
        spec
    };
    let restart = |value: Value| with(json!({"restart": value}));
    let health = |value: Value| with(json!({"health": value}));
    let preview = |value: Value| with(json!({"preview": value}));
    let secret = json!({"name": "s"});
    vec![
        (json!({"command": "a"}), "spec.workspaceRef: Required value"),
        (json!({"workspaceRef": {"name": "w"}}), "spec.command: Required value"),
        (json!({"workspaceRef": {}, "command": "a"}), "spec.workspaceRef.name: Required value"),
        (with(json!({"workspaceRef": {"name": "A"}})), "spec.workspaceRef.name in body should match"),
        (with(json!({"command": ""})), "spec.command in body should be at least 1 chars long"),
        (with(json!({"command": " \n"})), "must be a command: not blank, and without NUL characters"),
        (with(json!({"command": "a\u{0}b"})), "must be a command: not blank, and without NUL characters"),
        (with(json!({"command": "a".repeat(4097)})), "spec.command: Too long: may not be more than 4096"),
        (
            with(json!({"workdir": "web"})),
            "spec.workdir: Invalid value: \"web\": must be an absolute path without '..'",
        ),
        (with(json!({"workdir": "/a/../b"})), "must be an absolute path without '..'"),
        (with(json!({"workdir": "/a/.."})), "must be an absolute path without '..'"),
        (with(json!({"port": 0})), "spec.port in body should be greater than or equal to 1"),
        (with(json!({"port": 65536})), "spec.port in body should be less than or equal to 65535"),
        (with(json!({"operatingMode": "Suspended"})), "supported values: \"Running\", \"Stopped\""),
        (with(json!({"env": [{"name": "HOME", "value": "/"}]})), "this variable is reserved"),
        (with(json!({"env": [{"name": "A"}]})), "exactly one of value and valueFrom must be set"),
        (with(json!({"restartNonce": "a".repeat(129)})), "may not be more than 128"),
        (restart(json!({"policy": "Sometimes"})), "supported values: \"Always\", \"OnFailure\", \"Never\""),
        (restart(json!({"maxRestarts": 1001})), "should be less than or equal to 1000"),
        (
            restart(json!({"initialDelay": "10ms"})),
            "spec.restart.initialDelay: Invalid value: \"10ms\": must be a duration such as 500ms, 10s or 1h30m, from 100ms to 10m",
        ),
        (
            restart(json!({"maxDelay": "2h"})),
            "must be a duration such as 500ms, 10s or 1h30m, from 100ms to 1h",
        ),
        (restart(json!({"initialDelay": "2m"})), "initialDelay must not be longer than maxDelay"),
        (restart(json!({"resetAfter": "1d"})), "from 1s to 24h"),
        (health(json!({"path": "up"})), "spec.health.path in body should match"),
        (health(json!({"interval": "0s"})), "from 1s to 10m"),
        (health(json!({"timeout": "5m"})), "from 100ms to 1m"),
        (health(json!({"startupGrace": "-1s"})), "from 0s to 1h"),
        (health(json!({"failureThreshold": -1})), "should be greater than or equal to 0"),
        (
            with(json!({"port": null, "health": {"path": "/"}})),
            "health.path needs spec.port, the port that is asked",
        ),
        (
            with(json!({"logs": {"maxLines": 0}})),
            "spec.logs.maxLines in body should be greater than or equal to 1",
        ),
        (with(json!({"logs": {"maxBytes": "1Ki"}})), "must be at least 4Ki"),
        (with(json!({"logs": {"maxBytes": "1Gi"}})), "must be at most 64Mi"),
        (with(json!({"errors": {"fatalPatterns": [""]}})), "should be at least 1 chars long"),
        (with(json!({"errors": {"fatalPatterns": vec!["a"; 33]}})), "must have at most 32 items"),
        (
            with(json!({"port": null, "preview": {"enabled": true}})),
            "a preview needs spec.port, the port that the process serves HTTP on",
        ),
        (preview(json!({"access": "Public"})), "supported values: \"Link\", \"Password\", \"Private\""),
        (preview(json!({"access": "Password"})), "access Password needs passwordSecretRef"),
        (preview(json!({"passwordSecretRef": secret})), "passwordSecretRef needs access Password"),
        (preview(json!({"lifetime": "1s"})), "from 1m to 8760h"),
        (preview(json!({"hostHeader": "Drop"})), "supported values: \"Rewrite\", \"Preserve\""),
        (with(json!({"unknown": 1})), "unknown field \"spec.unknown\""),
    ]
}

#[tokio::test]
async fn a_devserver_stays_in_its_workspace() {
    let (plane, namespace) = table().await;
    let apply = |workspace: &str| {
        let object = manifest("DevServer", json!({"workspaceRef": {"name": workspace}, "command": "true"}));
        let arguments = ["apply", "--namespace", &namespace.name, "--filename", "-"];
        plane.kubectl_with_input(&arguments, &object.to_string())
    };
    assert!(apply("one").status.success());
    let said = String::from_utf8(apply("two").stderr).unwrap();
    let wanted = "workspaceRef can not be changed: delete this DevServer and make another one";
    assert!(said.contains(wanted), "{said}");
    namespace.delete().await;
}

#[tokio::test]
async fn bad_manifests_are_refused_in_words_that_help() {
    let (plane, namespace) = table().await;
    let mut failures = Vec::new();
    let rows = workspaces().into_iter().map(|(spec, words)| ("Workspace", spec, words));
    let rows = rows.chain(templates().into_iter().map(|(spec, words)| ("Template", spec, words)));
    let rows = rows.chain(devservers().into_iter().map(|(spec, words)| ("DevServer", spec, words)));
    let mut count = 0;
    for (kind, spec, words) in rows {
        count += 1;
        let output = apply(plane, &namespace, &manifest(kind, spec.clone()));
        let said = String::from_utf8_lossy(&output.stderr);
        if output.status.success() || !said.contains(words) {
            failures.push(format!("{kind} {spec}\n  wanted: {words}\n  got:    {said}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(count >= 40, "only {count} rows");
    namespace.delete().await;
}

#[tokio::test]
async fn names_must_be_dns_labels() {
    let (plane, namespace) = table().await;
    let specs = [
        ("Workspace", json!({})),
        ("Template", json!({"docker": {"image": "a"}})),
        ("DevServer", json!({"workspaceRef": {"name": "w"}, "command": "true"})),
    ];
    for (kind, spec) in specs {
        for name in ["a.b".to_owned(), "a".repeat(64)] {
            let mut object = manifest(kind, spec.clone());
            object["metadata"]["name"] = json!(name);
            let output = apply(plane, &namespace, &object);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(said.contains(&format!("the name of a {kind} must be a DNS label")), "{said}");
        }
    }
    namespace.delete().await;
}
