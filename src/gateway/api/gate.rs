//! The way of a request: who asks, what, how often, whether that is allowed, of which workspace.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
    routing::any,
};
use http::{Extensions, HeaderMap, HeaderValue, Request, header};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{
    Api, GROUP, VERSION,
    agent::Agent,
    attach,
    audit::Entry,
    browser::identity_of,
    channels::is_upgrade,
    documents, exec, files,
    identity::Identity,
    log,
    objects::{DevServerView, WorkspaceView, reachable},
    operation::{Operation, Resource},
    portforward,
    problem::{Problem, Reason, Rendering},
    proxy,
    review::{Access, Reviewer},
};
use crate::{controller::commands::Command, gateway::tickets::Grant, listener::Peer};

/// What stands before `/namespaces` where kube-apiserver is to take a request for a watch, which
/// it lets last as long as it takes.
const WATCH: &str = "/watch";
/// Longest name of a namespace or an object.
const NAME: usize = 253;

/// Where requests come in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Face {
    Aggregated,
    Public,
}

impl Face {
    fn rendering(self) -> Rendering {
        match self {
            Self::Aggregated => Rendering::Kubernetes,
            Self::Public => Rendering::ProblemDocument,
        }
    }

    /// What stands before `/namespaces`.
    fn prefix(self) -> String {
        match self {
            Self::Aggregated => format!("/apis/{GROUP}/{VERSION}"),
            Self::Public => "/api/v1".to_owned(),
        }
    }
}

#[derive(Clone)]
struct Served {
    api: Arc<Api>,
    face: Face,
}

/// The face behind kube-apiserver. Every other path is a problem too.
pub fn aggregated(api: Arc<Api>) -> Router {
    let served = Served { api, face: Face::Aggregated };
    routes(Face::Aggregated).fallback(nothing_here).with_state(served)
}

/// The public face.
pub fn public(api: Arc<Api>) -> Router {
    routes(Face::Public).with_state(Served { api, face: Face::Public })
}

fn routes(face: Face) -> Router<Served> {
    let router = Router::new().route(&format!("{}/namespaces/{{*path}}", face.prefix()), any(handle));
    match face {
        Face::Aggregated => {
            router.route(&format!("{}{WATCH}/namespaces/{{*path}}", face.prefix()), any(handle))
        }
        Face::Public => router,
    }
}

async fn nothing_here(State(served): State<Served>) -> Response {
    served.face.rendering().render(Problem::not_found("there is nothing at this path").into_response())
}

async fn handle(State(served): State<Served>, request: Request<Body>) -> Response {
    let answered = served.answer(request).await;
    let mut response = served.face.rendering().render(answered.into_response());
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // What comes out of a workspace is never a page of ours.
    headers
        .entry(header::CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static("sandbox; default-src 'none'"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// What a request is about.
struct Target {
    resource: Resource,
    namespace: String,
    name: String,
    /// What follows the name, still percent-encoded.
    rest: String,
}

impl Target {
    fn parse(path: &str, prefix: &str) -> Result<Self, Problem> {
        let nothing = || Problem::not_found("there is nothing at this path");
        let path = path.strip_prefix(prefix);
        let path = path.map(|path| path.strip_prefix(WATCH).unwrap_or(path));
        let path = path.and_then(|path| path.strip_prefix("/namespaces/"));
        let mut parts = path.ok_or_else(nothing)?.splitn(4, '/');
        let mut next = || parts.next().unwrap_or_default().to_owned();
        let (namespace, resource, name, rest) = (next(), next(), next(), next());
        let resource = match resource.as_str() {
            "workspaces" => Resource::Workspaces,
            "devservers" => Resource::DevServers,
            _ => return Err(nothing()),
        };
        if !is_name(&namespace) || !is_name(&name) {
            return Err(Problem::not_found("this is no name of an object"));
        }
        Ok(Self { resource, namespace, name, rest })
    }

    fn access(&self, operation: &Operation) -> Access {
        Access {
            verb: operation.verb(),
            resource: self.resource,
            subresource: operation.subresource(),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
        }
    }
}

fn is_name(text: &str) -> bool {
    (1..=NAME).contains(&text.len())
        && text.bytes().all(|each| matches!(each, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.'))
}

impl Served {
    async fn answer(&self, request: Request<Body>) -> Result<Response, Problem> {
        let (parts, body) = request.into_parts();
        let grant = self.session(&parts.headers);
        let identity = match &grant {
            Some(grant) => identity_of(grant),
            None => self.identity(&parts.extensions, &parts.headers).await?,
        };
        let request = Request::from_parts(parts, body);
        let target = Target::parse(request.uri().path(), &self.face.prefix())?;
        let upgrade = is_upgrade(request.headers());
        let operation = Operation::parse(target.resource, &target.rest, request.method(), upgrade)?;
        self.api.limits.operation(operation.class(), &identity)?;
        let admission = Admission {
            reviewer: self.api.reviewer.clone(),
            review_every: self.api.settings.review_every,
            stop: self.api.stop.clone(),
            identity,
            access: target.access(&operation),
        };
        let entry = Entry::of(&admission, &operation, &request);
        let result =
            match self.admit(grant.as_ref(), &admission, &operation, &target, request.headers()).await {
                Ok(()) => self.api.perform(operation, &target, admission, request).await,
                Err(problem) => Err(problem),
            };
        entry.write(&result);
        result
    }

    /// The session of a browser, on the face that browsers come to.
    fn session(&self, headers: &HeaderMap) -> Option<Grant> {
        match self.face {
            Face::Aggregated => None,
            Face::Public => self.api.browsers.as_ref()?.session(headers),
        }
    }

    /// Whether this is allowed: by the cluster, and by the session where somebody comes with one.
    async fn admit(
        &self,
        grant: Option<&Grant>,
        admission: &Admission,
        operation: &Operation,
        target: &Target,
        headers: &HeaderMap,
    ) -> Result<(), Problem> {
        if let (Some(grant), Some(browsers)) = (grant, &self.api.browsers) {
            let workspace = self.api.workspace(&target.namespace, &target.name)?;
            browsers.check(grant, operation, &workspace, headers)?;
        }
        admission.check().await
    }

    async fn identity(&self, request: &Extensions, headers: &HeaderMap) -> Result<Identity, Problem> {
        match self.face {
            Face::Aggregated => request
                .get::<Identity>()
                .cloned()
                .ok_or_else(|| Problem::new(Reason::Unauthorized, "the request names no user")),
            Face::Public => {
                let token = bearer(headers)?;
                let address = request.get::<Peer>().map(|peer| peer.address.ip());
                if let Some(address) = address
                    && !self.api.reviewer.remembers(token)
                {
                    self.api.limits.log_in(address)?;
                }
                let identity = self.api.reviewer.authenticate(token).await;
                if let (Some(address), Err(Problem { reason: Reason::Unauthorized, .. })) =
                    (address, &identity)
                {
                    self.api.limits.failed_log_in(address);
                }
                identity
            }
        }
    }
}

fn bearer(headers: &HeaderMap) -> Result<&str, Problem> {
    let unauthorized = || Problem::new(Reason::Unauthorized, "a bearer token is wanted");
    let value = headers.get(header::AUTHORIZATION).ok_or_else(unauthorized)?;
    let (scheme, token) =
        value.to_str().ok().and_then(|value| value.split_once(' ')).ok_or_else(unauthorized)?;
    let token = token.trim();
    if scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() { Ok(token) } else { Err(unauthorized()) }
}

impl Api {
    async fn perform(
        &self,
        operation: Operation,
        target: &Target,
        admission: Admission,
        request: Request<Body>,
    ) -> Result<Response, Problem> {
        let dev_server = match target.resource {
            Resource::DevServers => Some(self.dev_server(&target.namespace, &target.name)?),
            Resource::Workspaces => None,
        };
        let workspace = dev_server.as_ref().map_or(target.name.as_str(), |known| known.workspace.as_str());
        let workspace = self.workspace(&target.namespace, workspace)?;
        if let Operation::Ticket(_) = operation {
            let browsers =
                self.browsers.as_ref().ok_or_else(|| Problem::not_found("no browsers are served here"))?;
            return browsers.ticket(&admission.identity, &workspace, dev_server.as_deref());
        }
        if let Operation::Command(command) = operation {
            return self.command(&workspace, &admission.identity, command).await;
        }
        if let Operation::ContainerLog = operation {
            let query = request.uri().query();
            return log::of_container(self.controller.as_ref(), &workspace, query, admission).await;
        }
        let agent = Agent::new(self.agents.clone(), reachable(&workspace)?);
        match (operation, dev_server) {
            (Operation::Exec, _) => exec::run(&agent, &self.settings, request).await,
            (Operation::ExecStream, _) => exec::stream(&agent, request, admission).await,
            (Operation::ExecRoot, _) => {
                let wanted = exec::exec_request(request, &self.settings).await?;
                let result = self.controller.exec_root(&workspace, &admission.identity, wanted).await?;
                Ok(axum::Json(result).into_response())
            }
            (Operation::Log, Some(known)) => {
                log::read(&agent, &known.process, request.uri().query(), admission).await
            }
            (Operation::Attach, _) => attach::attach(&agent, request, admission).await,
            (Operation::PortForward, _) => portforward::forward(&agent, request, admission),
            (Operation::Proxy { port, path }, known) => {
                let port = port.or_else(|| known.as_deref()?.port).ok_or_else(|| {
                    Problem::new(Reason::Conflict, "the dev server opens no port").code("NoPort")
                })?;
                proxy::pass(&agent, port, &path, request, admission).await
            }
            (
                operation @ (Operation::ReadFile
                | Operation::WriteFile
                | Operation::DeleteFile
                | Operation::ListFiles
                | Operation::ReadArchive
                | Operation::WriteArchive),
                _,
            ) => files::perform(&agent, &self.settings, &operation, request).await,
            (Operation::Events, _) => log::events(&agent, admission).await,
            (operation, known) => documents::perform(&agent, operation, known, request).await,
        }
    }

    /// The workspace need not run: a command may be just what gets it going.
    async fn command(
        &self,
        workspace: &WorkspaceView,
        by: &Identity,
        command: Command,
    ) -> Result<Response, Problem> {
        if workspace.deleting {
            let message = format!("workspace {}/{} is being deleted", workspace.namespace, workspace.name);
            return Err(Problem::new(Reason::Gone, message));
        }
        let written = self.controller.command(workspace, by, command).await?;
        Ok(axum::Json(written).into_response())
    }

    fn workspace(&self, namespace: &str, name: &str) -> Result<Arc<WorkspaceView>, Problem> {
        self.objects
            .workspace(namespace, name)
            .ok_or_else(|| Problem::not_found(format!("there is no workspace {namespace}/{name}")))
    }

    fn dev_server(&self, namespace: &str, name: &str) -> Result<Arc<DevServerView>, Problem> {
        let known = self
            .objects
            .devserver(namespace, name)
            .ok_or_else(|| Problem::not_found(format!("there is no dev server {namespace}/{name}")))?;
        if known.deleting {
            let message = format!("dev server {namespace}/{name} is being deleted");
            return Err(Problem::new(Reason::Gone, message));
        }
        Ok(known)
    }
}

/// Somebody who was let in, and to what: a right that can be taken away again.
#[derive(Clone)]
pub struct Admission {
    reviewer: Reviewer,
    review_every: Duration,
    stop: CancellationToken,
    /// Who it is.
    pub identity: Identity,
    /// To what.
    pub access: Access,
}

impl Admission {
    async fn check(&self) -> Result<(), Problem> {
        self.reviewer.authorize(&self.identity, &self.access).await
    }

    /// Waits until the right is taken away, or this gateway stops. While the cluster can not be
    /// asked, the right stays.
    pub async fn until_revoked(&self) -> Problem {
        loop {
            if timeout(self.review_every, self.stop.cancelled()).await.is_ok() {
                return Problem::new(Reason::NotReady, "this gateway stops; another one goes on")
                    .retry_after(Duration::from_secs(1));
            }
            if let Err(problem) = self.reviewer.authorize_anew(&self.identity, &self.access).await
                && problem.reason == Reason::Forbidden
            {
                return problem;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    fn a_path_names_an_object_and_what_of_it() {
        let target =
            Target::parse("/api/v1/namespaces/team/workspaces/web/proxy/80/a%2Fb", "/api/v1").unwrap();
        assert_eq!(target.resource, Resource::Workspaces);
        assert_eq!((target.namespace.as_str(), target.name.as_str()), ("team", "web"));
        assert_eq!(target.rest, "proxy/80/a%2Fb");
    }

    #[test]
    fn a_request_that_lasts_names_the_same() {
        let path = "/apis/subresources.berth.dev/v1alpha1/watch/namespaces/team/workspaces/web/files/archive";
        let target = Target::parse(path, &Face::Aggregated.prefix()).unwrap();
        assert_eq!((target.name.as_str(), target.rest.as_str()), ("web", "files/archive"));
    }

    #[rstest]
    #[case("/api/v1/namespaces/team/pods/web/exec")]
    #[case("/api/v1/namespaces/team/workspaces")]
    #[case("/api/v1/namespaces/te%61m/workspaces/web/exec")]
    #[case("/api/v1/namespaces//workspaces/web/exec")]
    #[case("/api/v2/namespaces/team/workspaces/web/exec")]
    fn other_paths_name_nothing(#[case] path: &str) {
        assert!(Target::parse(path, "/api/v1").is_err());
    }
}
