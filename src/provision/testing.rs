//! Stand-ins for tests: commands and jobs run by the machine's own shell or through the docker
//! command, and a git server that speaks HTTP.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use secrecy::ExposeSecret;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::Command,
};

use crate::backend::{
    BackendError, ExecOutput, ExecRequest, Guest, JobRequest, JobState, guest::FileRequest,
};

/// Runs a command on this machine, with this home and nothing of the environment.
pub async fn run_locally(home: &Path, request: ExecRequest) -> ExecOutput {
    let mut command = Command::new(&request.argv[0]);
    command.args(&request.argv[1..]).env_clear().env("PATH", std::env::var("PATH").unwrap());
    command.env("HOME", home).envs(&request.env).current_dir(home);
    finish(command, request.stdin.as_ref().map_or("", |text| text.expose_secret())).await
}

/// Runs a job on this machine to its end; gives its code and output.
pub async fn run_job_locally(home: &Path, job: &JobRequest) -> (i64, String) {
    let mut request = ExecRequest::script(&job.user, &job.script);
    request.env =
        job.env.iter().map(|(name, value)| (name.clone(), value.expose_secret().to_owned())).collect();
    let output = run_locally(home, request).await;
    (output.exit_code, output.stdout + &output.stderr)
}

async fn finish(mut command: Command, input: &str) -> ExecOutput {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A command that ends without reading is no failure of the test.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    let output = child.wait_with_output().await.unwrap();
    ExecOutput {
        exit_code: output.status.code().map_or(137, i64::from),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A container, worked in through the docker command, and removed at the end.
pub struct DockerGuest(String);

impl DockerGuest {
    /// Starts a container that does nothing, with the options given.
    pub async fn start(image: &str, options: &[&str]) -> Self {
        let mut command = Command::new("docker");
        command.args(["run", "--detach", "--rm", "--network=none", "--user=0", "--entrypoint=sleep"]);
        command.args(options).args([image, "600"]);
        let output = finish(command, "").await;
        assert_eq!(output.exit_code, 0, "{output:?}");
        Self(output.stdout.trim().to_owned())
    }

    /// Standard output of a script that has to succeed.
    pub async fn output_of(&self, user: &str, script: &str) -> String {
        let output = self.run(ExecRequest::script(user, script)).await.unwrap();
        assert_eq!(output.exit_code, 0, "{output:?}");
        output.stdout
    }
}

impl Drop for DockerGuest {
    fn drop(&mut self) {
        let _ = std::process::Command::new("docker").args(["rm", "-f", &self.0]).output();
    }
}

#[async_trait]
impl Guest for DockerGuest {
    async fn run(&self, request: ExecRequest) -> Result<ExecOutput, BackendError> {
        let mut command = Command::new("docker");
        command.args(["exec", "-i", "-u", &request.user, &self.0]).args(&request.argv);
        Ok(finish(command, request.stdin.as_ref().map_or("", |text| text.expose_secret())).await)
    }

    async fn write_file(&self, _: FileRequest) -> Result<(), BackendError> {
        unimplemented!("nothing here writes single files")
    }

    async fn start_job(&self, _: JobRequest) -> Result<(), BackendError> {
        unimplemented!("jobs are tested on this machine")
    }

    async fn look_at_job(&self, _: &str, _: Duration) -> Result<JobState, BackendError> {
        unimplemented!("jobs are tested on this machine")
    }
}

/// Runs git in a folder, on this machine and apart from its configuration.
pub fn git(folder: &Path, arguments: &[&str]) -> String {
    let output = std::process::Command::new("git")
        .args(["-c", "user.name=T", "-c", "user.email=t@example.com", "-c", "init.defaultBranch=main"])
        .args(["-c", "protocol.file.allow=always", "-c", "core.hooksPath=/dev/null"])
        .args(arguments)
        .current_dir(folder)
        .env("HOME", folder)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .output()
        .unwrap();
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A git server. Everything below `/private/` wants the password; what is below `/elsewhere/` is
/// redirected to the same path on another server.
pub struct GitServer {
    /// Its address, such as `http://127.0.0.1:3000`.
    pub url: String,
    seen: Arc<Mutex<Vec<String>>>,
}

#[derive(Clone)]
struct Serving {
    root: PathBuf,
    authorization: String,
    redirect: Option<String>,
    seen: Arc<Mutex<Vec<String>>>,
}

impl GitServer {
    /// Serves the repositories below a folder; `authorization` is what private ones want to see.
    pub async fn start(root: &Path, authorization: &str, redirect: Option<&str>) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::default();
        let serving = Serving {
            root: root.to_owned(),
            authorization: authorization.to_owned(),
            redirect: redirect.map(str::to_owned),
            seen: Arc::clone(&seen),
        };
        let router = Router::new().fallback(answer).with_state(serving);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, seen }
    }

    /// Every `Authorization` header that came.
    pub fn authorizations(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

async fn answer(State(serving): State<Serving>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let header = |name: header::HeaderName| {
        parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
    };
    let authorization = header(header::AUTHORIZATION);
    if !authorization.is_empty() {
        serving.seen.lock().unwrap().push(authorization.clone());
    }
    if let Some(elsewhere) = serving.redirect.as_ref().filter(|_| parts.uri.path().starts_with("/elsewhere/"))
    {
        let target = parts.uri.to_string().replacen("/elsewhere", "", 1);
        return (StatusCode::FOUND, [(header::LOCATION, format!("{elsewhere}{target}"))]).into_response();
    }
    if parts.uri.path().starts_with("/private/") && authorization != serving.authorization {
        return (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Basic realm=\"git\"")])
            .into_response();
    }
    let mut backend = Command::new("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", &serving.root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REQUEST_METHOD", parts.method.as_str())
        .env("PATH_INFO", parts.uri.path())
        .env("QUERY_STRING", parts.uri.query().unwrap_or_default())
        .env("CONTENT_TYPE", header(header::CONTENT_TYPE))
        .env("HTTP_CONTENT_ENCODING", header(header::CONTENT_ENCODING))
        .env("GIT_PROTOCOL", header(header::HeaderName::from_static("git-protocol")))
        .env("GIT_CONFIG_COUNT", "1")
        .env("GIT_CONFIG_KEY_0", "safe.directory")
        .env("GIT_CONFIG_VALUE_0", "*")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let input = to_bytes(body, 1 << 24).await.unwrap();
    let mut stdin = backend.stdin.take().unwrap();
    let _ = stdin.write_all(&input).await;
    drop(stdin);
    let mut output = Vec::new();
    backend.stdout.take().unwrap().read_to_end(&mut output).await.unwrap();
    from_cgi(&output)
}

fn from_cgi(output: &[u8]) -> Response {
    let end = output.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let mut status = StatusCode::OK;
    let mut headers = HeaderMap::new();
    for line in std::str::from_utf8(&output[..end]).unwrap().lines() {
        let (name, value) = line.split_once(": ").unwrap();
        if name == "Status" {
            status = value[..3].parse().unwrap();
        } else {
            headers.insert(name.parse::<header::HeaderName>().unwrap(), value.parse().unwrap());
        }
    }
    (status, headers, Body::from(output[end + 4..].to_vec())).into_response()
}
