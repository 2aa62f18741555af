//! A workspace with one DevServer, and what can be seen of both from outside.

use std::{process::Command, time::Duration};

use berth::api::DevServer;
use serde_json::json;

use crate::support::{
    Docker, Namespace, Operator, Settings, control_plane, eventually,
    objects::{Seen, delete, devserver, devserver_condition, devserver_ready, gone, template, workspace},
};

/// Time for a workspace to recover: longer than a dead link can stay unnoticed.
const RECOVERY: Duration = Duration::from_secs(90);

/// Notes each of its starts in a file, answers `/` with a word and `/stream` without end.
const SERVER: &str = r#"echo start >> /workspace/starts
cat > /workspace/server.py <<'END'
import http.server, sys, time

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"here\n")
        while self.path == "/stream":
            self.wfile.write(b"tick\n")
            time.sleep(0.1)

http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
END
exec python3 /workspace/server.py "$PORT"
"#;

/// The Workspace `one` with the DevServer `web`, and the operator that made them.
pub struct Scene {
    // Ends first: it would make again what is cleared after a failure.
    pub operator: Operator,
    pub namespace: Namespace,
    pub docker: Docker,
    /// Address of the DevServer's preview.
    pub url: String,
}

/// A [`Scene`] with the operator alone.
pub struct Beginning {
    pub operator: Operator,
    namespace: Namespace,
    docker: Docker,
}

impl Beginning {
    /// Makes Workspace and DevServer, and waits until they are well.
    pub async fn made(self) -> Scene {
        let Self { operator, namespace, docker } = self;
        template(&namespace).await;
        workspace(&namespace, "one", json!({})).await;
        let spec = json!({"workspaceRef": {"name": "one"}, "command": SERVER, "port": 3000});
        devserver(&namespace, "web", spec).await;
        let web = devserver_ready(&namespace, "web").await;
        let url = web.status.unwrap().preview.unwrap().url.unwrap();
        Scene { namespace, docker, operator, url }
    }
}

/// The DevServer as seen in the container.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Run {
    /// Number of its only process.
    pub pid: u32,
    /// How often it was started so far.
    pub starts: usize,
}

impl Scene {
    /// Starts an operator with changed settings, and nothing else yet.
    pub async fn beginning(prefix: &str, change: impl FnOnce(&mut Settings)) -> Beginning {
        let plane = control_plane().await;
        let namespace = plane.namespace(prefix).await;
        let mut settings = Settings::with_gateway(plane.kubeconfig(), &namespace.name);
        change(&mut settings);
        let docker = Docker::of(&settings.instance);
        let operator = Operator::start(settings).await;
        Beginning { operator, namespace, docker }
    }

    /// Everything, made by one operator.
    pub async fn new(prefix: &str) -> Self {
        Self::beginning(prefix, |_| {}).await.made().await
    }

    /// The workspace's container.
    pub fn container(&self) -> String {
        let containers = self.docker.containers();
        assert_eq!(containers.len(), 1, "{containers:?}");
        containers[0].clone()
    }

    /// What a command of root's prints in the container.
    pub fn inside(&self, script: &str) -> String {
        self.docker.exec(&self.container(), "root", script).trim().to_owned()
    }

    /// Number of the process that plays this part of the agent: `link` or `supervise`.
    pub fn part(&self, name: &str) -> Option<u32> {
        self.inside(&format!("pgrep -f '^[^ ]*berth-agent {name}$' || true")).parse().ok()
    }

    /// Kills a process in the container the hard way.
    pub fn kill(&self, pid: u32) {
        self.inside(&format!("kill -9 {pid}"));
    }

    /// Waits until this part of the agent is another process than before.
    pub async fn replaced(&self, name: &str, before: u32) {
        eventually(RECOVERY, &format!("another {name}"), || async {
            match self.part(name) {
                Some(now) if now != before => Ok(()),
                other => Err(other),
            }
        })
        .await;
    }

    /// Waits until the DevServer is Ready, says the number of its only process in the container,
    /// and its preview answers.
    pub async fn well(&self) -> Run {
        eventually(RECOVERY, "the DevServer is well", || async {
            let web: DevServer =
                self.namespace.api().get("web").await.map_err(|error| Seen(error.to_string()))?;
            let ready = devserver_condition(&web, "Ready");
            let pids = self.processes().map_err(Seen)?;
            let answer = fetch(&self.url, &["--fail", "--max-time", "5"]);
            let told = web.status.and_then(|status| status.pid);
            let seen = format!("Ready {ready}; pid {told:?} of {pids:?}; preview {answer:?}");
            match pids.as_slice() {
                [pid] if ready.starts_with("True") && told == Some(*pid) && answer == "here\n" => {
                    Ok(Run { pid: *pid, starts: self.inside("wc -l < /workspace/starts").parse().unwrap() })
                }
                _ => Err(Seen(seen)),
            }
        })
        .await
    }

    /// Numbers of the DevServer's processes; an error while the container does not run.
    fn processes(&self) -> Result<Vec<u32>, String> {
        let script = "pgrep -f '^python3 /workspace/server.py' || true";
        let arguments = ["exec", "--user", "root", &self.container(), "sh", "-lc", script];
        let output = crate::support::docker::run(&arguments);
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        Ok(String::from_utf8_lossy(&output.stdout).lines().filter_map(|line| line.parse().ok()).collect())
    }

    /// Removes everything.
    pub async fn end(self) {
        delete(&self.namespace, "one").await;
        gone(&self.namespace, "one").await;
        self.namespace.delete().await;
    }
}

/// What curl prints of an address below `localhost`.
pub fn fetch(url: &str, options: &[&str]) -> String {
    let output = Command::new("curl").arg("--silent").args(options).arg(url).output();
    String::from_utf8_lossy(&output.expect("curl does not run").stdout).into_owned()
}
