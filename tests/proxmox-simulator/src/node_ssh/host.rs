//! What `pct` does on a node.

use tokio::sync::{Mutex, mpsc};

use super::{Node, files::Files, protocol::Request};
use crate::containers::{Chunk, Input};

/// Of a container that does not run, and of one that is not there.
const NOT_RUNNING: i32 = 255;
const MISSING: i32 = 2;

/// A node as one command sees it.
pub(super) struct Host {
    pub(super) node: Node,
    pub(super) files: Mutex<Files>,
}

impl Host {
    /// Answers a request: outputs as they come, and the exit code. Before it, what the command wrote
    /// into files is handed on, and after it the files are as the answer left them.
    pub(super) async fn answer(&self, request: Request, stdin: Input, outputs: mpsc::Sender<Chunk>) -> i32 {
        let errors = outputs.clone();
        let failures = self.push().await;
        let done = match failures.is_empty() {
            true => self.act(request, stdin, outputs).await,
            false => Err((1, failures.join("\n"))),
        };
        let pulled = self.files.lock().await.pull(&*self.node.configurations).await;
        let done = done.and_then(|code| pulled.map(|()| code).map_err(|error| (1, error.to_string())));
        match done {
            Ok(code) => code,
            Err((code, words)) => {
                // Nobody needs to listen.
                let _ = errors.send(Chunk::Stderr(format!("{words}\n").into())).await;
                code
            }
        }
    }

    /// Hands on what was written into files. Returns what went wrong.
    pub(super) async fn push(&self) -> Vec<String> {
        self.files.lock().await.push(&*self.node.configurations).await
    }

    async fn act(
        &self,
        request: Request,
        stdin: Input,
        outputs: mpsc::Sender<Chunk>,
    ) -> Result<i32, (i32, String)> {
        let (Request::Exec { vmid, .. }
        | Request::Status { vmid }
        | Request::Config { vmid }
        | Request::Unlock { vmid }) = request;
        let node = &self.node.name;
        let Some(text) = self.node.configurations.config_text(node, vmid).await else {
            let words = format!("Configuration file 'nodes/{node}/lxc/{vmid}.conf' does not exist");
            return Err((MISSING, words));
        };
        let failed = |words| (1, words);
        let text = match request {
            Request::Exec { argv, .. } => {
                if !self.is_running(vmid).await {
                    return Err((NOT_RUNNING, format!("container '{vmid}' not running!")));
                }
                return self.node.containers.attach(vmid, &argv, stdin, outputs).await.map_err(failed);
            }
            Request::Status { .. } => {
                let status = if self.is_running(vmid).await { "running" } else { "stopped" };
                format!("status: {status}\n")
            }
            Request::Config { .. } => current(&text),
            Request::Unlock { .. } => {
                self.node.configurations.unlock(vmid).await.map_err(failed)?;
                return Ok(0);
            }
        };
        let _ = outputs.send(Chunk::Stdout(text.into())).await;
        Ok(0)
    }

    async fn is_running(&self, vmid: u32) -> bool {
        self.node.containers.init(vmid).await.is_ok_and(|init| init.is_some())
    }
}

/// The lines about the container as it is, sorted: those of snapshots come after the first section's
/// head, and comments are the description.
fn current(text: &str) -> String {
    let own = text.lines().take_while(|line| !line.starts_with('['));
    let mut lines: Vec<&str> = own.filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
    lines.sort_unstable();
    lines.iter().map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_is_shown_without_its_snapshots() {
        let text = "#a note\nhostname: box\narch: amd64\n\n[before]\nhostname: old\n";
        assert_eq!(current(text), "arch: amd64\nhostname: box\n");
    }
}
