//! What kubectl makes of the kinds: explain, names, columns, selectors.

use berth::api::Workspace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray,
};
use serde_json::json;

use super::table;
use crate::support::objects::workspace;

#[test]
fn every_field_explains_itself() {
    fn walk(path: &str, schema: &JSONSchemaProps, silent: &mut Vec<String>) {
        for (name, property) in schema.properties.iter().flatten() {
            let field = format!("{path}.{name}");
            let text = property.description.as_deref().unwrap_or_default();
            if text.len() < 12 || !text.ends_with('.') {
                silent.push(format!("{field}: {text:?}"));
            }
            walk(&field, property, silent);
            if let Some(JSONSchemaPropsOrArray::Schema(item)) = &property.items {
                walk(&format!("{field}[]"), item, silent);
            }
        }
    }
    let mut silent = Vec::new();
    for definition in berth::api::crd::all() {
        for version in &definition.spec.versions {
            let schema =
                version.schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref()).unwrap();
            for part in ["spec", "status"] {
                let section = &schema.properties.as_ref().unwrap()[part];
                walk(&format!("{}.{part}", definition.spec.names.kind), section, &mut silent);
            }
        }
    }
    assert!(silent.is_empty(), "{}", silent.join("\n"));
}

#[test]
fn definitions_are_small_enough_for_client_side_apply() {
    for (name, yaml) in berth::api::crd::files() {
        assert!(yaml.len() < 250_000, "{name}: {} bytes", yaml.len());
    }
}

#[tokio::test]
async fn kubectl_knows_the_kinds_by_all_their_names() {
    let (plane, namespace) = table().await;
    workspace(&namespace, "one", json!({"operatingMode": "Suspended"})).await;
    let inside = |arguments: &[&str]| plane.kubectl(&[arguments, &["--namespace", &namespace.name]].concat());
    for name in ["workspaces", "workspace", "ws", "berth"] {
        assert!(inside(&["get", name, "--output", "name"]).contains("workspace.berth.dev/one"), "{name}");
    }
    assert!(inside(&["get", "ws"]).starts_with("NAME   PHASE   STEP   READY   BACKEND   TEMPLATE   AGE"));
    let wide = inside(&["get", "ws", "--output", "wide"]);
    let columns: Vec<&str> = wide.lines().next().unwrap().split_whitespace().collect();
    let expected = [
        "NAME", "PHASE", "STEP", "READY", "BACKEND", "TEMPLATE", "AGE", "NODE", "IP", "BRANCH", "IDLE",
        "REASON", "MESSAGE",
    ];
    assert_eq!(columns, expected);
    assert!(inside(&["get", "ws", "--field-selector", "spec.operatingMode=Suspended"]).contains("one"));
    assert!(!inside(&["get", "ws", "--field-selector", "spec.operatingMode=Running"]).contains("one"));
    let explained = inside(&["explain", "workspace.spec.repository"]);
    assert!(explained.contains("The git repository to check out into `/workspace`."), "{explained}");
    namespace.delete().await;
}

#[tokio::test]
async fn a_null_is_dropped_and_not_stored() {
    let (plane, namespace) = table().await;
    let object = json!({
        "apiVersion": "berth.dev/v1alpha1", "kind": "Workspace", "metadata": {"name": "nulls"},
        "spec": {"repository": null, "env": [{"name": "A", "value": "x", "valueFrom": null}]},
    });
    let arguments = ["create", "--namespace", &namespace.name, "--filename", "-"];
    let output = plane.kubectl_with_input(&arguments, &object.to_string());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let stored = namespace.api::<Workspace>().get("nulls").await.unwrap();
    assert_eq!(serde_json::to_value(&stored.spec.env).unwrap(), json!([{"name": "A", "value": "x"}]));
    assert!(stored.spec.repository.is_none());
    namespace.delete().await;
}
