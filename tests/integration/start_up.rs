//! How the operator starts: what it waits for, and what it refuses.

use std::{process::Command, time::Duration};

use serde_json::json;

use crate::support::{ControlPlane, Operator, Settings, control_plane::install_definitions, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn it_waits_for_its_definitions_and_says_so() {
    // A control plane of its own, that has never heard of the kinds.
    let plane = tokio::task::spawn_blocking(|| ControlPlane::start("startup")).await.unwrap();
    let namespace = plane.namespace("startup").await;
    let backends = json!([{"name": "memory", "memory": {}}]);
    let operator = Operator::start(Settings::new(plane.kubeconfig(), &namespace.name, backends)).await;
    let wanted = "waiting for the CustomResourceDefinition workspaces.berth.dev";
    eventually(Duration::from_secs(10), "it says what it waits for", || async {
        let (code, answer) = operator.get("/readyz").await;
        if code == 503 && answer.contains(wanted) { Ok(()) } else { Err(answer) }
    })
    .await;
    assert!(operator.log().contains("install the chart, or apply what `berth crds` prints"));
    assert_eq!(operator.get("/healthz").await.0, 200);
    install_definitions(&plane.client().await).await;
    eventually(Duration::from_secs(20), "it is ready", || async {
        let (code, answer) = operator.get("/readyz").await;
        if code == 200 { Ok(()) } else { Err(answer) }
    })
    .await;
}

#[test]
fn a_bad_configuration_is_refused_with_all_that_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("berth.yaml");
    let check = |text: &str| {
        std::fs::write(&file, text).unwrap();
        let berth = env!("CARGO_BIN_EXE_berth");
        let output = Command::new(berth).args(["config", "check"]).arg(&file).output().unwrap();
        assert!(!output.status.success(), "{text}");
        String::from_utf8(output.stderr).unwrap()
    };
    let said = check(
        "defaultBackend: nowhere\ncontroller: {concurrency: 0}\nbackends:\n\
         - {name: A_B, memory: {}}\n\
         - {name: d, docker: {hosts: [{name: h, endpoint: 'tcp://h:2376'}], networkRange: 10.0.0.0/30}}\n",
    );
    for words in [
        "backends[0].name: must be a DNS label",
        "backends[1].docker.networkRange: must be a /28 or larger",
        "backends[1].docker.hosts[0].tls: is required with tcp://",
        "defaultBackend: \"nowhere\" is not the name of a backend",
        "controller.concurrency: must be from 1 to 256",
    ] {
        assert!(said.contains(words), "{words} is missing in {said}");
    }
    assert!(check("backends: []\nunknown: 1\n").contains("unknown field `unknown`"));
    assert!(check("backends: [{name: a, memory: {delay: 5}}]").contains("5"));
}
