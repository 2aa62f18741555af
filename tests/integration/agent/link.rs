//! The way from a container to a link: delivery, init, configuration, and what goes wrong on it.

use serde_json::json;

use crate::support::{
    Docker, Operator, Settings, control_plane,
    objects::{condition, delete, gone, ready, template, workspace},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_workspace_is_ready_once_its_agent_has_a_link() {
    let plane = control_plane().await;
    let namespace = plane.namespace("linked").await;
    let settings = Settings::with_gateway(plane.kubeconfig(), &namespace.name);
    let _docker = Docker::of(&settings.instance);
    let _operator = Operator::start(settings).await;
    template(&namespace).await;
    workspace(&namespace, "one", json!({})).await;
    let object = ready(&namespace, "one").await;
    assert_eq!(condition(&object, "AgentConnected"), "True Connected: ");
    let agent = object.status.unwrap().agent.unwrap();
    assert_eq!(agent.version, env!("CARGO_PKG_VERSION"));
    delete(&namespace, "one").await;
    gone(&namespace, "one").await;
    namespace.delete().await;
}
