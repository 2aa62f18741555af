//! The CustomResourceDefinitions, made from the Rust types.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::Value;

use super::{Template, Workspace};

/// Every definition, in the order of their names.
pub fn all() -> Vec<CustomResourceDefinition> {
    [Template::crd(), Workspace::crd()].into_iter().map(tidy).collect()
}

/// Takes `nullable` out of the schema, so that the API server drops a null instead of storing
/// it: `has()` in a rule would take a stored null for a value.
fn tidy(crd: CustomResourceDefinition) -> CustomResourceDefinition {
    let Ok(mut value) = serde_json::to_value(&crd) else { return crd };
    remove_key(&mut value, "nullable");
    serde_json::from_value(value).unwrap_or(crd)
}

fn remove_key(value: &mut Value, key: &str) {
    match value {
        Value::Object(map) => {
            map.remove(key);
            map.values_mut().for_each(|child| remove_key(child, key));
        }
        Value::Array(list) => list.iter_mut().for_each(|child| remove_key(child, key)),
        _ => {}
    }
}
