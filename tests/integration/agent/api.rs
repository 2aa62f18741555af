//! The public face of the API, with a bearer token, down to a real agent.

use k8s_openapi::api::{
    authentication::v1::{TokenRequest, TokenRequestSpec},
    core::v1::ServiceAccount,
    rbac::v1::{Role, RoleBinding},
};
use kube::api::PostParams;
use serde_json::{Value, json};

use crate::support::{
    Docker, Namespace, Operator, Settings, control_plane,
    objects::{delete, gone, ready, template, workspace},
};

/// A service account with these verbs on these subresources, and a token of its for the API.
pub async fn token(namespace: &Namespace, name: &str, verbs: &[&str], resources: &[&str]) -> String {
    async fn make<K>(namespace: &Namespace, object: Value)
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + serde::Serialize
            + serde::de::DeserializeOwned,
    {
        let object: K = serde_json::from_value(object).unwrap();
        namespace.api::<K>().create(&PostParams::default(), &object).await.unwrap();
    }
    let metadata = json!({"name": name});
    make::<ServiceAccount>(namespace, json!({"metadata": metadata})).await;
    let rules = json!([{"apiGroups": ["subresources.berth.dev"], "resources": resources, "verbs": verbs}]);
    make::<Role>(namespace, json!({"metadata": metadata, "rules": rules})).await;
    let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name});
    let subjects = json!([{"kind": "ServiceAccount", "name": name, "namespace": namespace.name}]);
    make::<RoleBinding>(namespace, json!({"metadata": metadata, "roleRef": role, "subjects": subjects}))
        .await;
    let request = TokenRequest {
        spec: TokenRequestSpec { audiences: vec!["berth".to_owned()], ..TokenRequestSpec::default() },
        ..TokenRequest::default()
    };
    let accounts = namespace.api::<ServiceAccount>();
    let made = accounts.create_token_request(name, &PostParams::default(), &request).await.unwrap();
    made.status.unwrap().token
}

/// Status code and body of a request.
pub fn ask(url: &str, token: &str, options: &[&str]) -> (u16, String) {
    let output = std::process::Command::new("curl")
        .args(["--silent", "--max-time", "30", "--write-out", "\n%{http_code}"])
        .args(["--header", &format!("Authorization: Bearer {token}")])
        .args(options)
        .arg(url)
        .output()
        .expect("curl does not run");
    let text = String::from_utf8(output.stdout).expect("no text");
    let (body, code) = text.rsplit_once('\n').expect("no status code");
    (code.parse().expect("no status code"), body.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_and_files_of_a_workspace_by_token() {
    let plane = control_plane().await;
    let namespace = plane.namespace("api").await;
    let settings = Settings::with_gateway(plane.kubeconfig(), &namespace.name);
    let base = format!("{}/api/v1/namespaces/{}/workspaces/one", settings.gateway_url(), namespace.name);
    let _docker = Docker::of(&settings.instance);
    let _operator = Operator::start(settings).await;
    template(&namespace).await;
    workspace(&namespace, "one", json!({"env": [{"name": "GREETING", "value": "it's me"}]})).await;
    ready(&namespace, "one").await;
    let worker = token(&namespace, "worker", &["create", "get"], &["*"]).await;
    let reader = token(&namespace, "reader", &["get"], &["*"]).await;

    let command = r#"{"shell": "echo $GREETING; id -un; exit 3"}"#;
    let post = ["--json", command];
    let (code, body) = ask(&format!("{base}/exec"), &worker, &post);
    assert_eq!(code, 200, "{body}");
    let result: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&result["exitCode"], &result["stdout"]), (&json!(3), &json!("it's me\ndev\n")));

    let as_root = r#"{"shell": "id -un"}"#;
    let (code, body) = ask(&format!("{base}/exec-root"), &worker, &["--json", as_root]);
    assert_eq!(code, 200, "{body}");
    assert!(body.contains(r#""stdout":"root\n""#), "{body}");

    let file = format!("{base}/files?path=notes/first.txt");
    let (code, body) = ask(&file, &worker, &["--request", "PUT", "--data-binary", "light"]);
    assert!((200..300).contains(&code), "{code} {body}");
    assert_eq!(ask(&file, &reader, &[]), (200, "light".to_owned()));
    for outside in ["/etc/shadow", "../etc/shadow", "/workspace/../etc/shadow", "/run/berth/agent.token"] {
        let (code, body) = ask(&format!("{base}/files?path={outside}"), &worker, &[]);
        assert_eq!(code, 403, "{outside}: {body}");
    }

    // Who may look at everything may run and change nothing.
    assert_eq!(ask(&format!("{base}/exec"), &reader, &post).0, 403);
    assert_eq!(ask(&format!("{base}/exec-root"), &reader, &["--json", as_root]).0, 403);
    assert_eq!(ask(&file, &reader, &["--request", "PUT", "--data-binary", "dark"]).0, 403);
    assert_eq!(ask(&format!("{base}/ticket"), &reader, &["--json", "{}"]).0, 403);
    assert_eq!(ask(&format!("{base}/proxy/3000/"), &reader, &[]).0, 403);
    assert_eq!(ask(&format!("{base}/processes/system"), &reader, &[]).0, 200);
    assert_eq!(ask(&format!("{base}/exec"), "nonsense", &post).0, 401);

    delete(&namespace, "one").await;
    gone(&namespace, "one").await;
    assert_eq!(ask(&format!("{base}/exec"), &worker, &post).0, 404);
    namespace.delete().await;
}
