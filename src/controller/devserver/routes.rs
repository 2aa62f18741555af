//! What is made in the cluster so that requests for a preview get to the gateway: an Ingress, or an
//! HTTPRoute of the Gateway API, where the configuration asks for them.

use std::time::{Duration, Instant};

use kube::{
    Api, Resource, ResourceExt,
    api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams},
};
use serde_json::{Value, json};

use crate::{
    api::{DevServer, condition},
    config::preview::{GatewayService, HttpRouteConfig, IngressConfig, PreviewConfig},
    controller::{
        context::Context,
        workspace::{problem::Problem, write::FIELD_MANAGER},
    },
};

/// What was done about the routes of a preview last.
#[derive(Clone, Debug)]
pub struct Routed {
    wanted: Vec<Value>,
    result: Result<(), Problem>,
    until: Instant,
}

/// Time between two tries of what failed.
pub const RETRY: Duration = Duration::from_secs(15);

/// Makes the routes of a preview as they are wanted, or removes them. From time to time all is
/// done again, whatever somebody else did to them.
pub async fn keep(context: &Context, object: &DevServer, host: &str, open: bool) -> Result<(), Problem> {
    let config = &context.config.preview;
    if !config.makes_routes() {
        return Ok(());
    }
    let uid = object.uid().unwrap_or_default();
    let all = wanted(config, &context.config.own_namespace(), object, host);
    let now_wanted = if open { all.clone() } else { Vec::new() };
    if let Some(last) = context.devservers.routed(&uid)
        && last.wanted == now_wanted
        && last.until > Instant::now()
    {
        return last.result;
    }
    let mut result = Ok(());
    for one in &all {
        let done = if open { apply(context, object, one).await } else { remove(context, object, one).await };
        result = result.and(done);
    }
    let pause = if result.is_ok() { context.config.controller.resync.0 } else { RETRY };
    let until = Instant::now() + pause;
    context.devservers.note_routed(&uid, Routed { wanted: now_wanted, result: result.clone(), until });
    result
}

async fn apply(context: &Context, object: &DevServer, one: &Value) -> Result<(), Problem> {
    let (api, name) = home(context, object, one);
    let parameters = PatchParams::apply(FIELD_MANAGER).force();
    let done = api.patch(&name, &parameters, &Patch::Apply(one)).await;
    done.map(drop).map_err(|error| failed(one, &error))
}

async fn remove(context: &Context, object: &DevServer, one: &Value) -> Result<(), Problem> {
    let (api, name) = home(context, object, one);
    match api.delete(&name, &DeleteParams::default()).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        done => done.map(drop).map_err(|error| failed(one, &error)),
    }
}

fn failed(one: &Value, error: &kube::Error) -> Problem {
    let kind = one["kind"].as_str().unwrap_or_default();
    Problem::transient(condition::PREVIEW_READY, "RouteFailed", format!("its {kind}: {error}"))
}

fn home(context: &Context, object: &DevServer, one: &Value) -> (Api<DynamicObject>, String) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (group, version) = match text(&one["apiVersion"]).split_once('/') {
        Some((group, version)) => (group.to_owned(), version.to_owned()),
        None => (String::new(), text(&one["apiVersion"])),
    };
    let kind = text(&one["kind"]);
    // The plural of all of them is regular but for one.
    let plural = match kind.as_str() {
        "Ingress" => "ingresses".to_owned(),
        _ => format!("{}s", kind.to_lowercase()),
    };
    let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind { group, version, kind }, &plural);
    let namespace = object.namespace().unwrap_or_default();
    let api = Api::namespaced_with(context.client.clone(), &namespace, &resource);
    (api, text(&one["metadata"]["name"]))
}

/// Every object for a preview. They belong to its DevServer.
fn wanted(config: &PreviewConfig, own_namespace: &str, object: &DevServer, host: &str) -> Vec<Value> {
    let (Some(gateway), Some(name)) = (&config.gateway, config.host_name(host)) else { return Vec::new() };
    let namespace = gateway.namespace.as_deref().unwrap_or(own_namespace);
    let metadata = json!({
        "name": host,
        "labels": {"app.kubernetes.io/managed-by": "berth"},
        "ownerReferences": [{
            "apiVersion": DevServer::api_version(&()),
            "kind": DevServer::kind(&()),
            "name": object.name_any(),
            "uid": object.uid(),
            "controller": true,
            "blockOwnerDeletion": false,
        }],
    });
    let mut objects = Vec::new();
    if let Some(ingress) = &config.ingress {
        objects.push(alias(gateway, namespace, &metadata));
        objects.push(ingress_object(ingress, gateway, host, &name, &metadata));
    }
    if let Some(route) = &config.http_route {
        objects.push(http_route(route, gateway, namespace, &name, &metadata));
    }
    objects
}

/// Another name for the gateway's Service, in the namespace of the Ingress.
fn alias(gateway: &GatewayService, namespace: &str, metadata: &Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {
            "type": "ExternalName",
            "externalName": format!("{}.{namespace}.svc.{}", gateway.name, gateway.cluster_domain),
            "ports": [{"name": "http", "port": gateway.port, "protocol": "TCP"}],
        },
    })
}

fn ingress_object(
    ingress: &IngressConfig,
    gateway: &GatewayService,
    host: &str,
    name: &str,
    metadata: &Value,
) -> Value {
    let backend = json!({"service": {"name": host, "port": {"number": gateway.port}}});
    let mut spec = json!({"rules": [{
        "host": name,
        "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]},
    }]});
    if let Some(class) = &ingress.class_name {
        spec["ingressClassName"] = json!(class);
    }
    if ingress.certificates {
        spec["tls"] = json!([{"hosts": [name], "secretName": host}]);
    }
    let mut metadata = metadata.clone();
    if !ingress.annotations.is_empty() {
        metadata["annotations"] = json!(ingress.annotations);
    }
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": metadata, "spec": spec})
}

fn http_route(
    route: &HttpRouteConfig,
    gateway: &GatewayService,
    namespace: &str,
    name: &str,
    metadata: &Value,
) -> Value {
    let mut parent = json!({"name": route.parent_ref.name});
    if let Some(namespace) = &route.parent_ref.namespace {
        parent["namespace"] = json!(namespace);
    }
    if let Some(section) = &route.parent_ref.section_name {
        parent["sectionName"] = json!(section);
    }
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": metadata,
        "spec": {
            "parentRefs": [parent],
            "hostnames": [name],
            "rules": [{
                "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
                "backendRefs": [{"name": gateway.name, "namespace": namespace, "port": gateway.port}],
            }],
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::devserver::fixtures::object;

    fn made(config: &str) -> Vec<Value> {
        let config: PreviewConfig = serde_yaml::from_str(config).unwrap();
        wanted(&config, "berth-system", &object("web", json!({"port": 3000})), "web-ws-00")
    }

    #[test]
    fn an_ingress_goes_to_the_gateway_by_another_name() {
        let objects = made(
            "{domain: p.example, gateway: {name: gw, port: 80}, \
             ingress: {className: nginx, certificates: true, annotations: {a: b}}}",
        );
        let [service, ingress] = objects.as_slice() else { panic!("{objects:?}") };
        assert_eq!(service["spec"]["externalName"], "gw.berth-system.svc.cluster.local");
        assert_eq!(ingress["spec"]["ingressClassName"], "nginx");
        assert_eq!(ingress["spec"]["rules"][0]["host"], "web-ws-00.p.example");
        let backend = &ingress["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"];
        assert_eq!(backend, &json!({"name": "web-ws-00", "port": {"number": 80}}));
        assert_eq!(
            ingress["spec"]["tls"],
            json!([{"hosts": ["web-ws-00.p.example"], "secretName": "web-ws-00"}])
        );
        assert_eq!(ingress["metadata"]["annotations"], json!({"a": "b"}));
        for one in &objects {
            assert_eq!(one["metadata"]["ownerReferences"][0]["name"], "web");
        }
    }

    #[test]
    fn an_http_route_names_gateway_and_service_where_they_are() {
        let objects = made(
            "{domain: p.example, gateway: {name: gw, namespace: g, port: 80}, \
             httpRoute: {parentRef: {name: public, namespace: edge, sectionName: https}}}",
        );
        let [route] = objects.as_slice() else { panic!("{objects:?}") };
        let parent = json!({"name": "public", "namespace": "edge", "sectionName": "https"});
        assert_eq!(route["spec"]["parentRefs"], json!([parent]));
        assert_eq!(route["spec"]["hostnames"], json!(["web-ws-00.p.example"]));
        let backend = json!({"name": "gw", "namespace": "g", "port": 80});
        assert_eq!(route["spec"]["rules"][0]["backendRefs"], json!([backend]));
    }

    #[test]
    fn nothing_is_made_unless_it_is_asked_for() {
        assert_eq!(made("{domain: p.example}"), Vec::<Value>::new());
    }
}
