//! Apps that npm installs and node runs.

use std::{
    fs,
    fs::File,
    net::TcpListener,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::support::checkout;

/// A running app. Ends with this.
pub struct App {
    folder: TempDir,
    process: Child,
}

impl App {
    /// Starts the app of this name with arguments for node, in a copy of its own.
    pub fn start(name: &str, arguments: &[String]) -> Self {
        let installed = install(name);
        let folder = tempfile::tempdir_in(cache()).unwrap();
        // Links: modules are many and never written to.
        run("cp", &["--archive", "--link", &format!("{}/.", installed.display()), "."], folder.path());
        copy(&source(name), folder.path());
        let log = File::create(folder.path().join("log")).unwrap();
        let process = Command::new("node")
            .args(arguments)
            .current_dir(folder.path())
            .env("NEXT_TELEMETRY_DISABLED", "1")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .process_group(0)
            .spawn()
            .expect("node can be started");
        Self { folder, process }
    }

    /// Writes a file of the app.
    pub fn write(&self, path: &str, text: &str) {
        fs::write(self.folder.path().join(path), text).unwrap();
    }

    /// What it has printed.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for App {
    fn drop(&mut self) {
        let group = format!("-{}", self.process.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
        let _ = self.process.wait();
    }
}

/// A port that nothing listens on.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A folder with the app's modules. Made once for each list of them.
fn install(name: &str) -> PathBuf {
    let list = fs::read(source(name).join("package.json")).unwrap();
    let installed = cache().join(format!("{name}-{}", &hex::encode(Sha256::digest(&list))[..12]));
    if !installed.exists() {
        let folder = tempfile::tempdir_in(cache()).unwrap();
        fs::write(folder.path().join("package.json"), list).unwrap();
        run("npm", &["install", "--no-audit", "--no-fund", "--loglevel=error"], folder.path());
        // Another run may have been faster; then that one is as good.
        if fs::rename(folder.path(), &installed).is_ok() {
            let _ = folder.keep();
        }
    }
    installed
}

fn source(name: &str) -> PathBuf {
    checkout().join("tests/integration/previews/apps").join(name)
}

fn cache() -> PathBuf {
    let cache = std::env::var_os("BERTH_CACHE").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").expect("HOME is set")).join(".cache/berth"),
        PathBuf::from,
    );
    let folder = cache.join("npm-apps");
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// Copies the files of a folder over those of another; new files, not what links lead to.
fn copy(from: &Path, to: &Path) {
    run("cp", &["--recursive", "--remove-destination", &format!("{}/.", from.display()), "."], to);
}

fn run(program: &str, arguments: &[&str], folder: &Path) {
    let output = Command::new(program).args(arguments).current_dir(folder).output();
    let output = output.unwrap_or_else(|error| panic!("{program} can not be started: {error}"));
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}
