//! What kube-apiserver and kubectl ask before anything else: groups, resources, schemas, health.

use axum::{
    Json, Router,
    extract::Request,
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use http::{HeaderMap, Method, header};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::{
    GROUP, VERSION,
    operation::{Operation, Resource, Subresource},
    problem::{Problem, Reason, Rendering},
};

/// The routes. They tell the same to everybody: kube-apiserver has checked that the client may
/// look at discovery.
pub fn router() -> Router {
    let documents = Router::new()
        .route("/apis", get(|| async { Json(group_list()) }))
        .route(&format!("/apis/{GROUP}"), get(|| async { Json(group()) }))
        .route(&format!("/apis/{GROUP}/{VERSION}"), get(|| async { Json(resource_list()) }))
        .layer(middleware::from_fn(plain_json_only));
    Router::new()
        .merge(documents)
        .route("/openapi/v2", get(|| async { Json(openapi_v2()) }))
        .route("/openapi/v3", get(|| async { Json(openapi_v3_index()) }))
        .route(&format!("/openapi/v3/apis/{GROUP}/{VERSION}"), get(|| async { Json(openapi_v3()) }))
        .route("/version", get(|| async { Json(version()) }))
        .route("/healthz", get(|| async { "ok" }))
        .route("/livez", get(|| async { "ok" }))
        .route("/readyz", get(|| async { "ok" }))
}

/// Discovery of all groups in one document is not offered here: kube-apiserver puts it together
/// from the plain form, which it asks for next.
async fn plain_json_only(request: Request, next: Next) -> Response {
    if takes_plain_json(request.headers()) {
        return next.run(request).await;
    }
    let problem =
        Problem::new(Reason::NotAcceptable, "only application/json without parameters is served here");
    Rendering::Kubernetes.render(problem.into_response())
}

fn takes_plain_json(headers: &HeaderMap) -> bool {
    let mut accepted = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .peekable();
    accepted.peek().is_none()
        || accepted.any(|range| {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default();
            let aggregated = parts.any(|parameter| parameter.starts_with("as="));
            matches!(kind, "*/*" | "application/*" | "application/json") && !aggregated
        })
}

fn group_version() -> String {
    format!("{GROUP}/{VERSION}")
}

fn group() -> Value {
    let version = json!({"groupVersion": group_version(), "version": VERSION});
    json!({
        "kind": "APIGroup",
        "apiVersion": "v1",
        "name": GROUP,
        "versions": [version],
        "preferredVersion": version,
    })
}

fn group_list() -> Value {
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": [group()]})
}

fn resource_list() -> Value {
    let resources: Vec<_> = [Resource::Workspaces, Resource::DevServers]
        .into_iter()
        .flat_map(|resource| resource.subresources().iter().map(move |one| described(resource, one)))
        .collect();
    json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": group_version(),
        "resources": resources,
    })
}

fn described(resource: Resource, subresource: &Subresource) -> Value {
    json!({
        "name": format!("{}/{}", resource.word(), subresource.name),
        "singularName": "",
        "namespaced": true,
        "kind": subresource.kind,
        "verbs": subresource.verbs,
    })
}

fn information() -> Value {
    json!({"title": "Berth", "version": env!("CARGO_PKG_VERSION")})
}

fn openapi_v2() -> Value {
    json!({"swagger": "2.0", "info": information(), "paths": {}, "definitions": {}})
}

fn openapi_v3_index() -> Value {
    let path = format!("apis/{GROUP}/{VERSION}");
    // kube-apiserver asks again only where this has changed.
    let hash = hex::encode(&Sha256::digest(openapi_v3().to_string())[..8]);
    let url = format!("/openapi/v3/{path}?hash={hash}");
    json!({"paths": {path: {"serverRelativeURL": url}}})
}

fn openapi_v3() -> Value {
    let paths: Map<String, Value> = [Resource::Workspaces, Resource::DevServers]
        .into_iter()
        .flat_map(|resource| resource.subresources().iter().flat_map(move |one| paths(resource, one.name)))
        .collect();
    json!({"openapi": "3.0.0", "info": information(), "paths": paths})
}

/// A subresource and what is below it, each with the methods that it can be asked with.
fn paths(resource: Resource, subresource: &str) -> impl Iterator<Item = (String, Value)> {
    let below = below(resource, subresource).iter().map(move |path| format!("{subresource}/{path}"));
    let all: Vec<_> = std::iter::once(subresource.to_owned()).chain(below).collect();
    all.into_iter().filter_map(move |path| {
        let operations: Map<String, Value> = [Method::GET, Method::POST, Method::PUT, Method::DELETE]
            .into_iter()
            .filter_map(|method| {
                let asked = path.replace("{port}", "80").replace(['{', '}'], "");
                let operation = Operation::parse(resource, &asked, &method, true).ok()?;
                Some((
                    method.as_str().to_lowercase(),
                    described_operation(resource, &path, &method, &operation),
                ))
            })
            .collect();
        (!operations.is_empty()).then(|| whole_path(resource, &path, operations))
    })
}

/// The paths below a subresource.
fn below(resource: Resource, subresource: &str) -> &'static [&'static str] {
    match (resource, subresource) {
        (Resource::Workspaces, "files") => &["archive", "list"],
        (Resource::Workspaces, "git") => &["commit", "diff", "discard", "stage", "status", "unstage"],
        (Resource::Workspaces, "processes") => &["system", "{process}/restart"],
        (Resource::Workspaces, "proxy") => &["{port}", "{port}/{path}"],
        (Resource::Workspaces, "terminals") => &["{terminal}"],
        (Resource::DevServers, "proxy") => &["{path}"],
        _ => &[],
    }
}

fn whole_path(resource: Resource, path: &str, mut item: Map<String, Value>) -> (String, Value) {
    let path =
        format!("/apis/{GROUP}/{VERSION}/namespaces/{{namespace}}/{}/{{name}}/{path}", resource.word());
    let parameters: Vec<_> = path
        .split('/')
        .filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
        .map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}))
        .collect();
    item.insert("parameters".to_owned(), parameters.into());
    (path, item.into())
}

fn described_operation(resource: Resource, path: &str, method: &Method, operation: &Operation) -> Value {
    let words = path.split(|each: char| !each.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let name: String = words.map(capitalised).collect();
    let method = method.as_str().to_lowercase();
    let right = format!("`{}` on `{}/{}`", operation.verb(), resource.word(), operation.subresource());
    json!({
        "operationId": format!("{method}{}{name}", capitalised(resource.word())),
        "description": format!("Who asks needs the right to {right}."),
        "responses": {"2XX": {"description": "It was done"}, "default": {"description": "A metav1.Status"}},
    })
}

fn capitalised(word: &str) -> String {
    let (first, rest) = word.split_at_checked(1).unwrap_or((word, ""));
    first.to_uppercase() + rest
}

fn version() -> Value {
    let mut numbers = env!("CARGO_PKG_VERSION").split('.');
    json!({
        "major": numbers.next(),
        "minor": numbers.next(),
        "gitVersion": concat!("v", env!("CARGO_PKG_VERSION")),
        "platform": format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
    })
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use http::StatusCode;
    use http_body_util::BodyExt;
    use rstest::rstest;
    use tower::ServiceExt;

    use super::*;

    async fn asked(path: &str, accept: &str) -> (StatusCode, Value) {
        let request =
            Request::builder().uri(path).header(header::ACCEPT, accept).body(Body::empty()).unwrap();
        let response = router().oneshot(request).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test]
    async fn only_subresources_are_listed() {
        let (_, list) = asked("/apis/subresources.berth.dev/v1alpha1", "*/*").await;
        let names: Vec<_> =
            list["resources"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
        assert!(names.contains(&"workspaces/exec") && names.contains(&"devservers/log"), "{names:?}");
        assert!(names.iter().all(|name| name.contains('/')), "{names:?}");
    }

    #[tokio::test]
    async fn every_subresource_has_a_path_with_its_methods() {
        let (_, index) = asked("/openapi/v3", "*/*").await;
        let group = "apis/subresources.berth.dev/v1alpha1";
        let url = index["paths"][group]["serverRelativeURL"].as_str().unwrap();
        let (_, document) = asked(url, "application/json").await;
        let paths = document["paths"].as_object().unwrap();
        for resource in [Resource::Workspaces, Resource::DevServers] {
            let prefix = format!("/{group}/namespaces/{{namespace}}/{}/{{name}}", resource.word());
            for known in resource.subresources() {
                assert!(paths.keys().any(|path| path.starts_with(&format!("{prefix}/{}", known.name))));
            }
        }
        let of = |path: &str| {
            let item = &paths[&format!("/{group}/namespaces/{{namespace}}/workspaces/{{name}}/{path}")];
            item.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(of("files"), "delete get parameters put");
        assert_eq!(of("files/list"), "get parameters");
        assert_eq!(of("processes/{process}/restart"), "parameters post");
        assert_eq!(of("proxy/{port}/{path}"), "delete get parameters post put");
        let identities: Vec<_> = paths
            .values()
            .flat_map(|item| item.as_object().unwrap().values())
            .filter_map(|operation| operation["operationId"].as_str())
            .collect();
        let different: std::collections::BTreeSet<_> = identities.iter().collect();
        assert_eq!(different.len(), identities.len(), "{identities:?}");
        let put = &paths[&format!("/{group}/namespaces/{{namespace}}/workspaces/{{name}}/files")]["put"];
        assert!(put["description"].as_str().unwrap().contains("`create` on `workspaces/files`"), "{put}");
    }

    #[rstest]
    #[case("application/json", StatusCode::OK)]
    #[case(
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json",
        StatusCode::OK
    )]
    #[case("application/vnd.kubernetes.protobuf, application/json;q=0.8", StatusCode::OK)]
    #[case(
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
        StatusCode::NOT_ACCEPTABLE
    )]
    #[case("application/vnd.kubernetes.protobuf", StatusCode::NOT_ACCEPTABLE)]
    #[tokio::test]
    async fn discovery_has_one_form(#[case] accept: &str, #[case] expected: StatusCode) {
        assert_eq!(asked("/apis", accept).await.0, expected);
    }
}
