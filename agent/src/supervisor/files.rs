//! What a supervisor leaves to its successor, should it be killed: what was wanted, and which
//! process groups it had.

use std::{
    collections::BTreeMap,
    fs, io,
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use berth_link::wire::process::{DesiredProcesses, ProcessId};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::group::{Identity, Stat};

/// Makes a folder, and those above it, that only the user can look into; also where it is there
/// already.
pub fn make_folder(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))
}

/// Replaces a file as a whole; only the user can read it.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    // One that a predecessor left half written may have other permissions.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(content)?;
    fs::rename(&new, path)
}

fn read<T: DeserializeOwned + Default>(path: &Path) -> T {
    let content = match fs::read(path) {
        Ok(content) => content,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return T::default(),
        Err(error) => {
            tracing::warn!("{} can not be read: {error}", path.display());
            return T::default();
        }
    };
    serde_json::from_slice(&content).unwrap_or_else(|error| {
        tracing::warn!("{} can not be understood: {error}", path.display());
        T::default()
    })
}

/// What is wanted, on disk. It may hold secrets of environments.
#[derive(Debug)]
pub struct Desired(PathBuf);

impl Desired {
    /// In this folder.
    pub fn new(folder: &Path) -> Self {
        Self(folder.join("desired.json"))
    }

    /// What was last wanted; nothing, where that is not known.
    pub fn read(&self) -> DesiredProcesses {
        read(&self.0)
    }

    /// Remembers what is wanted.
    pub fn write(&self, desired: &DesiredProcesses) -> io::Result<()> {
        replace(&self.0, &serde_json::to_vec(desired)?)
    }
}

#[derive(Default, Deserialize, Serialize)]
struct Recorded {
    boot: String,
    groups: BTreeMap<ProcessId, Identity>,
}

/// The process groups that there are, on disk and in memory.
#[derive(Debug)]
pub struct Groups {
    path: PathBuf,
    now: Mutex<BTreeMap<ProcessId, Identity>>,
}

impl Groups {
    /// In this folder; and the leaders of those that a predecessor left there. One of before the
    /// machine or the container was started is none of them.
    pub fn take_over(folder: &Path) -> (Self, BTreeMap<ProcessId, Identity>) {
        let path = folder.join("groups.json");
        let recorded: Recorded = read(&path);
        let left = if recorded.boot == boot() { recorded.groups } else { BTreeMap::new() };
        (Self { path, now: Mutex::new(left.clone()) }, left)
    }

    /// Remembers the group of a process; `None`: it has none any more.
    pub fn set(&self, id: &ProcessId, group: Option<Identity>) -> io::Result<()> {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        match group {
            Some(leader) => now.insert(id.clone(), leader),
            None => now.remove(id),
        };
        let recorded = Recorded { boot: boot(), groups: now.clone() };
        replace(&self.path, &serde_json::to_vec(&recorded)?)
    }
}

/// Tells one start of the container from another, and one boot of the machine from another.
fn boot() -> String {
    let machine = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let container = Stat::read(1).map(|stat| stat.started).unwrap_or_default();
    format!("{}-{container}", machine.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let id: ProcessId = "web".parse().unwrap();
        let leader = Identity { pid: 7, started: 8 };
        let (groups, left) = Groups::take_over(folder.path());
        assert_eq!(left, BTreeMap::new());
        groups.set(&id, Some(leader)).unwrap();
        assert_eq!(Groups::take_over(folder.path()).1, BTreeMap::from([(id.clone(), leader)]));
        groups.set(&id, None).unwrap();
        assert_eq!(Groups::take_over(folder.path()).1, BTreeMap::new());
    }

    #[test]
    fn groups_of_another_boot_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let recorded = r#"{"boot": "another", "groups": {"web": {"pid": 1, "started": 0}}}"#;
        fs::write(folder.path().join("groups.json"), recorded).unwrap();
        assert_eq!(Groups::take_over(folder.path()).1, BTreeMap::new());
    }

    #[test]
    fn what_is_wanted_is_for_the_user_only_and_half_a_file_is_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let desired = Desired::new(folder.path());
        assert_eq!(desired.read(), DesiredProcesses::default());
        desired.write(&DesiredProcesses::default()).unwrap();
        let path = folder.path().join("desired.json");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&path, r#"{"processes": [{"#).unwrap();
        assert_eq!(desired.read(), DesiredProcesses::default());
    }
}
