//! The CustomResourceDefinitions, made from the Rust types.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::Value;

use super::{DevServer, Template, Workspace};

/// Every definition, in the order of their names.
pub fn all() -> Vec<CustomResourceDefinition> {
    [DevServer::crd(), Template::crd(), Workspace::crd()].into_iter().map(tidy).collect()
}

/// Makes the schema read and behave as written by hand.
fn tidy(crd: CustomResourceDefinition) -> CustomResourceDefinition {
    let Ok(mut value) = serde_json::to_value(&crd) else { return crd };
    tidy_schema(&mut value);
    serde_json::from_value(value).unwrap_or(crd)
}

fn tidy_schema(value: &mut Value) {
    match value {
        Value::Object(map) => {
            // A null is dropped then instead of stored: `has()` in a rule would take a stored
            // null for a value.
            map.remove("nullable");
            // Formats of Rust's that the API server does not know.
            if map.get("format").and_then(Value::as_str).is_some_and(|format| format.starts_with("uint")) {
                map.remove("format");
            }
            // kubectl explain keeps every line break; those of the doc comments mean nothing.
            if let Some(Value::String(text)) = map.get_mut("description") {
                let paragraphs: Vec<String> =
                    text.split("\n\n").map(|part| part.replace('\n', " ")).collect();
                *text = paragraphs.join("\n\n");
            }
            map.values_mut().for_each(tidy_schema);
        }
        Value::Array(list) => list.iter_mut().for_each(tidy_schema),
        _ => {}
    }
}

/// Each definition as a file: its name, and YAML.
pub fn files() -> Vec<(String, String)> {
    all()
        .iter()
        .map(|crd| {
            (format!("{}.yaml", crd.spec.names.plural), serde_yaml::to_string(crd).unwrap_or_default())
        })
        .collect()
}

/// Prints every definition, or writes each into a folder.
pub fn print(folder: Option<&std::path::Path>) -> anyhow::Result<()> {
    for (name, yaml) in files() {
        match folder {
            Some(folder) => std::fs::write(folder.join(&name), yaml)?,
            None => print!("---\n{yaml}"),
        }
    }
    Ok(())
}
