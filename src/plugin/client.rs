//! The API server, as the plugin asks it: our objects, and their subresources.

use std::time::Duration;

use futures::TryStreamExt;
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use kube::{
    Client, Config,
    client::Body,
    config::{KubeConfigOptions, Kubeconfig},
    core::Status,
};
use secrecy::SecretString;
use serde::{Serialize, de::DeserializeOwned};

use super::{
    arguments::Access,
    exit::{Failure, Subject, unreachable_server},
};

/// Longest time for one request that does not stream, where none is given.
const REQUEST_TIME: Duration = Duration::from_secs(60);
/// Most bytes of a refusal that are read.
const REFUSAL: usize = 1 << 20;

/// A cluster, and a namespace in it.
#[derive(Clone)]
pub struct Cluster {
    /// The API server.
    pub client: Client,
    /// The namespace that names are looked up in.
    pub namespace: String,
    request_time: Option<Duration>,
}

impl Cluster {
    /// Finds the cluster as kubectl does: by the kubeconfig, else from inside a Pod.
    pub async fn find(access: &Access) -> Result<Self, Failure> {
        let mut config = config(access).await?;
        // Streams are silent for as long as nothing happens.
        config.read_timeout = None;
        let namespace = access.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let client = Client::try_from(config).map_err(|error| unreachable_server(&error))?;
        let request_time =
            Some(access.request_timeout.unwrap_or(REQUEST_TIME)).filter(|time| !time.is_zero());
        Ok(Self { client, namespace, request_time })
    }

    /// A workspace of the namespace.
    pub fn workspace(&self, name: &str) -> Subresources<'_> {
        Subresources {
            cluster: self,
            plural: "workspaces",
            subject: Subject::workspace(name, &self.namespace),
        }
    }

    /// A dev server of the namespace.
    pub fn dev_server(&self, name: &str) -> Subresources<'_> {
        Subresources {
            cluster: self,
            plural: "devservers",
            subject: Subject::dev_server(name, &self.namespace),
        }
    }

    /// Does something within the time for one request.
    pub async fn in_time<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let Some(limit) = self.request_time else { return work.await };
        tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
            Err(Failure::failed(format!("no answer within {}", humantime::format_duration(limit)))
                .hint("--request-timeout gives it more time."))
        })
    }
}

async fn config(access: &Access) -> Result<Config, Failure> {
    let options = KubeConfigOptions {
        context: access.context.clone(),
        cluster: access.cluster.clone(),
        user: access.user.clone(),
    };
    let chosen = access.kubeconfig.is_some() || access.context.is_some();
    let found = match &access.kubeconfig {
        Some(file) => match Kubeconfig::read_from(file) {
            Ok(kubeconfig) => Config::from_custom_kubeconfig(kubeconfig, &options).await,
            Err(error) => Err(error),
        },
        None => Config::from_kubeconfig(&options).await,
    };
    let mut config = match found {
        Ok(config) => config,
        Err(error) if chosen => return Err(no_kubeconfig(&error)),
        Err(error) => Config::incluster().map_err(|_| no_kubeconfig(&error))?,
    };
    if let Some(server) = &access.server {
        config.cluster_url =
            server.parse().map_err(|error| Failure::usage(format!("--server {server:?}: {error}")))?;
    }
    if let Some(token) = &access.token {
        config.auth_info =
            kube::config::AuthInfo { token: Some(SecretString::from(token.clone())), ..Default::default() };
    }
    if let Some(user) = &access.impersonate {
        config.auth_info.impersonate = Some(user.clone());
    }
    if !access.impersonate_groups.is_empty() {
        config.auth_info.impersonate_groups = Some(access.impersonate_groups.clone());
    }
    config.accept_invalid_certs |= access.insecure_skip_tls_verify;
    Ok(config)
}

fn no_kubeconfig(error: &kube::config::KubeconfigError) -> Failure {
    Failure::usage(format!("no kubeconfig that can be used: {error}"))
        .hint("Set $KUBECONFIG, or give --kubeconfig and --context.")
}

/// The subresources of one object.
pub struct Subresources<'a> {
    cluster: &'a Cluster,
    plural: &'static str,
    /// The object.
    pub subject: Subject,
}

impl Subresources<'_> {
    /// The path of a subresource, with its query. kube-apiserver takes transfers of files for
    /// watches, since it cuts off other requests after 60 s.
    pub fn path(&self, subresource: &str, query: &[(&str, String)]) -> String {
        let Subject { name, namespace, .. } = &self.subject;
        let lasting = if matches!(subresource, "files" | "files/archive") { "watch/" } else { "" };
        let path = format!(
            "/apis/subresources.berth.dev/v1alpha1/{lasting}namespaces/{namespace}/{}/{name}/{subresource}",
            self.plural
        );
        if query.is_empty() {
            return path;
        }
        let pairs = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
        format!("{path}?{pairs}")
    }

    /// Sends a request, and gives the answer when it is a success; its body streams.
    pub async fn send(&self, request: Request<Body>) -> Result<Response<Body>, Failure> {
        let answer = self.cluster.client.send(request).await.map_err(|error| self.subject.failure(error))?;
        match answer.status() {
            status if status.is_success() || status == StatusCode::SWITCHING_PROTOCOLS => Ok(answer),
            status => Err(self.subject.refusal(&refusal(status, answer).await)),
        }
    }

    /// Asks for a subresource; the answer streams.
    pub async fn get(&self, subresource: &str, query: &[(&str, String)]) -> Result<Response<Body>, Failure> {
        self.send(self.request(Method::GET, subresource, query, Body::empty())?).await
    }

    /// Asks for a document.
    pub async fn document<T: DeserializeOwned>(&self, subresource: &str) -> Result<T, Failure> {
        let work = async {
            let answer = self.get(subresource, &[]).await?;
            Ok(serde_json::from_slice(&whole(answer).await?)?)
        };
        self.cluster.in_time(work).await
    }

    /// Sends a document, and gives what is answered, however long that takes.
    pub async fn post<T: Serialize>(&self, subresource: &str, document: &T) -> Result<Vec<u8>, Failure> {
        let body = Body::from(serde_json::to_vec(document)?);
        whole(self.send(self.request(Method::POST, subresource, &[], body)?).await?).await
    }

    /// A request for a subresource.
    pub fn request(
        &self,
        method: Method,
        subresource: &str,
        query: &[(&str, String)],
        body: Body,
    ) -> Result<Request<Body>, Failure> {
        Request::builder()
            .method(method)
            .uri(self.path(subresource, query))
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(body)
            .map_err(|error| Failure::usage(error.to_string()))
    }
}

/// The whole body of an answer.
pub async fn whole(answer: Response<Body>) -> Result<Vec<u8>, Failure> {
    let body = answer.into_body().collect().await.map_err(broken_off)?;
    Ok(body.to_bytes().to_vec())
}

fn broken_off(error: impl std::fmt::Display) -> Failure {
    Failure::failed(format!("the answer broke off: {error}"))
}

/// The body of a refusal, as far as it can be read.
async fn refusal(code: StatusCode, answer: Response<Body>) -> Status {
    let text = answer
        .into_body()
        .into_data_stream()
        .try_fold(Vec::new(), async |mut text, part| {
            let room = REFUSAL.saturating_sub(text.len());
            text.extend_from_slice(part.get(..room.min(part.len())).unwrap_or_default());
            Ok(text)
        })
        .await
        .unwrap_or_default();
    let said: Option<Status> = serde_json::from_slice(&text).ok();
    said.filter(|status| !status.message.is_empty())
        .map(|status| status.with_code(code.as_u16()))
        .unwrap_or_else(|| {
            let words = String::from_utf8_lossy(&text);
            let message = format!("{code}: {}", words.trim());
            Status::failure(message.trim_end_matches([':', ' ']), "").with_code(code.as_u16())
        })
}
