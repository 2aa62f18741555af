//! A program with a token, as far as the API server knows it.

use k8s_openapi::api::{
    authentication::v1::{TokenRequest, TokenRequestSpec},
    core::v1::ServiceAccount,
    rbac::v1::{Role, RoleBinding},
};
use kube::api::PostParams;
use serde_json::{Value, from_value, json};

use super::support::Namespace;

const NAME: &str = "program";

/// The token of a service account that may do everything in the namespace's workspaces.
pub async fn token(namespace: &Namespace) -> String {
    let parameters = PostParams::default();
    let accounts = namespace.api::<ServiceAccount>();
    accounts.create(&parameters, &object(json!({}))).await.expect("no service account");
    let rules =
        json!([{"apiGroups": ["subresources.berth.dev"], "resources": ["*"], "verbs": ["create", "get"]}]);
    let role = object(json!({"rules": rules}));
    namespace.api::<Role>().create(&parameters, &role).await.expect("no role");
    let binding = object(json!({
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": NAME},
        "subjects": [{"kind": "ServiceAccount", "name": NAME, "namespace": namespace.name}],
    }));
    namespace.api::<RoleBinding>().create(&parameters, &binding).await.expect("no binding");
    let request = TokenRequest {
        spec: TokenRequestSpec { audiences: vec!["berth".to_owned()], ..TokenRequestSpec::default() },
        ..TokenRequest::default()
    };
    let made = accounts.create_token_request(NAME, &parameters, &request).await.expect("no token");
    made.status.expect("an empty token").token
}

fn object<K: serde::de::DeserializeOwned>(mut content: Value) -> K {
    content["metadata"] = json!({"name": NAME});
    from_value(content).expect("it is no such object")
}
