//! The configuration files that a command sees below `/etc/pve`, and what it changes in them.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use super::Configurations;

/// No configuration file is larger: what is, is not read.
const LARGEST: u64 = 512 * 1024;

/// The files of one command.
pub(super) struct Files {
    folder: PathBuf,
    node: String,
    /// The texts as the state and the files last had them in common.
    known: BTreeMap<u32, String>,
}

impl Files {
    /// Makes an empty tree in a folder that is to be `/etc/pve`.
    pub(super) fn make(folder: &Path, node: &str) -> io::Result<Self> {
        let own = folder.join("nodes").join(node);
        std::fs::create_dir_all(own.join("lxc"))?;
        std::os::unix::fs::symlink(format!("nodes/{node}"), folder.join("local"))?;
        std::os::unix::fs::symlink("local/lxc", folder.join("lxc"))?;
        Ok(Self { folder: own.join("lxc"), node: node.to_owned(), known: BTreeMap::new() })
    }

    /// Writes every file whose text has changed, and removes those of containers that are gone.
    pub(super) async fn pull(&mut self, state: &dyn Configurations) -> io::Result<()> {
        let mut texts = BTreeMap::new();
        for vmid in state.vmids(&self.node).await {
            if let Some(text) = state.config_text(&self.node, vmid).await {
                texts.insert(vmid, text);
            }
        }
        for vmid in self.known.keys().filter(|vmid| !texts.contains_key(vmid)) {
            let _ = std::fs::remove_file(self.path(*vmid));
        }
        for (vmid, text) in texts.iter().filter(|(vmid, text)| self.known.get(vmid) != Some(text)) {
            std::fs::write(self.path(*vmid), text)?;
        }
        self.known = texts;
        Ok(())
    }

    /// Hands on every file that the command has changed. Returns what went wrong with some.
    pub(super) async fn push(&mut self, state: &dyn Configurations) -> Vec<String> {
        let mut failures = Vec::new();
        for (vmid, text) in self.changed() {
            match state.set_config_text(&self.node, vmid, &text).await {
                Ok(()) => drop(self.known.insert(vmid, text)),
                Err(error) => failures.push(format!("/etc/pve/lxc/{vmid}.conf: {error}")),
            }
        }
        failures
    }

    fn changed(&self) -> Vec<(u32, String)> {
        let files = std::fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let vmids = files.filter_map(|file| file.file_name().to_str()?.strip_suffix(".conf")?.parse().ok());
        let texts = vmids.filter_map(|vmid| Some((vmid, read(&self.path(vmid))?)));
        texts.filter(|(vmid, text)| self.known.get(vmid) != Some(text)).collect()
    }

    fn path(&self, vmid: u32) -> PathBuf {
        self.folder.join(format!("{vmid}.conf"))
    }
}

fn read(path: &Path) -> Option<String> {
    let length = std::fs::metadata(path).ok()?.len();
    (length <= LARGEST).then(|| std::fs::read_to_string(path).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;

    use super::*;

    struct State(Mutex<BTreeMap<u32, String>>);

    #[async_trait]
    impl Configurations for State {
        async fn vmids(&self, _node: &str) -> Vec<u32> {
            self.0.lock().unwrap().keys().copied().collect()
        }
        async fn config_text(&self, _node: &str, vmid: u32) -> Option<String> {
            self.0.lock().unwrap().get(&vmid).cloned()
        }
        async fn set_config_text(&self, _node: &str, vmid: u32, text: &str) -> Result<(), String> {
            match self.0.lock().unwrap().get_mut(&vmid) {
                Some(known) => *known = text.to_owned(),
                None => return Err("no such container".to_owned()),
            }
            Ok(())
        }
        async fn unlock(&self, _vmid: u32) -> Result<(), String> {
            Ok(())
        }
    }

    async fn scene() -> (tempfile::TempDir, Files, State) {
        let folder = tempfile::tempdir().unwrap();
        let state = State(Mutex::new([(105, "arch: amd64\n".to_owned())].into()));
        let mut files = Files::make(folder.path(), "pve1").unwrap();
        files.pull(&state).await.unwrap();
        (folder, files, state)
    }

    #[tokio::test]
    async fn the_files_stand_where_a_host_has_them() {
        let (folder, _files, _state) = scene().await;
        for path in ["lxc/105.conf", "local/lxc/105.conf", "nodes/pve1/lxc/105.conf"] {
            assert_eq!(std::fs::read_to_string(folder.path().join(path)).unwrap(), "arch: amd64\n");
        }
    }

    #[tokio::test]
    async fn only_a_change_is_handed_on() {
        let (folder, mut files, state) = scene().await;
        // Somebody else's change is not undone by a command that did not touch the file.
        state.set_config_text("pve1", 105, "arch: arm64\n").await.unwrap();
        assert!(files.push(&state).await.is_empty());
        assert_eq!(state.config_text("pve1", 105).await.unwrap(), "arch: arm64\n");
        std::fs::write(folder.path().join("lxc/105.conf"), "arch: i386\n").unwrap();
        assert!(files.push(&state).await.is_empty());
        assert_eq!(state.config_text("pve1", 105).await.unwrap(), "arch: i386\n");
    }

    #[tokio::test]
    async fn a_file_without_a_container_is_an_error() {
        let (folder, mut files, state) = scene().await;
        std::fs::write(folder.path().join("lxc/106.conf"), "arch: amd64\n").unwrap();
        std::fs::write(folder.path().join("lxc/notes"), "x").unwrap();
        assert_eq!(files.push(&state).await, ["/etc/pve/lxc/106.conf: no such container"]);
    }

    #[tokio::test]
    async fn files_follow_the_state() {
        let (folder, mut files, state) = scene().await;
        state.0.lock().unwrap().clear();
        state.0.lock().unwrap().insert(106, "arch: amd64\n".to_owned());
        files.pull(&state).await.unwrap();
        assert!(!folder.path().join("lxc/105.conf").exists());
        assert!(folder.path().join("lxc/106.conf").exists());
    }
}
