//! The custom resources as the API server has them.

mod accepted;
mod refused;
mod shape;

use std::process::Output;

use serde_json::{Value, json};

use crate::support::{Namespace, control_plane, control_plane::ControlPlane};

/// The API server's word on a manifest, as kubectl prints it. Nothing is stored.
fn apply(plane: &ControlPlane, namespace: &Namespace, manifest: &Value) -> Output {
    let arguments = ["create", "--dry-run=server", "--namespace", &namespace.name, "--filename", "-"];
    plane.kubectl_with_input(&arguments, &manifest.to_string())
}

fn manifest(kind: &str, spec: Value) -> Value {
    json!({"apiVersion": "berth.dev/v1alpha1", "kind": kind, "metadata": {"name": "x"}, "spec": spec})
}

/// The plane and a namespace for one table.
async fn table() -> (&'static ControlPlane, Namespace) {
    let plane = control_plane().await;
    (plane, plane.namespace("api").await)
}
