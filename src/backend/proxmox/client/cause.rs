//! What the words of Proxmox VE mean. It has no error codes: not found, locked and conflict are
//! all a 500, and a failed task has nothing but words either. So the words decide, in one place.

use super::VmId;

/// What stands behind a refusal or a failed task.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Cause {
    /// What the call was about is not there.
    Missing(Missing),
    /// A container is locked by an operation, or by one that died. The API can not clear that.
    Locked(Lock),
    /// A lock was held by somebody else for longer than the node waits. Nothing was done.
    LockTimeout,
    /// The number is taken, by a container or by a virtual machine.
    AlreadyExists(Option<VmId>),
    /// The container runs: already, or although it must not.
    Running,
    /// The container does not run. Said by `stop` of a container that is not there as well.
    NotRunning,
    /// The container is a template, and this can not be done with one.
    IsTemplate,
    /// The container has snapshots, and this can not be done with them.
    HasSnapshots,
    /// The container is protected from removal.
    Protected,
    /// The container is managed by the cluster's high availability.
    HighAvailability,
    /// Linked clones use the template's volume.
    InUse,
    /// Somebody changed the configuration since it was read.
    ConfigurationChanged,
    /// The disk has the wanted size.
    AlreadyThatSize,
    /// Disks do not shrink.
    CannotShrink,
    /// Every number of the range is taken.
    NoFreeVmId,
    /// Storage, mount point or node do not allow this kind of clone.
    CloneImpossible,
    /// The cluster has no quorum, or the node has lost its file system of the cluster.
    ClusterNotReady,
    /// Only the real `root@pam` may, not even a token of it.
    RootOnly,
    /// LXC could not start the container.
    StartFailed,
    /// The container was asked to stop and did not.
    DidNotStop,
    /// The task was killed or aborted.
    Interrupted,
    /// Words that are not known.
    Other,
}

/// What is missing.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Missing {
    /// The container, or it is on another node.
    Container(Option<VmId>),
    /// The storage.
    Storage,
    /// The node, or its name does not resolve.
    Node,
    /// The bridge on the node.
    Bridge,
    /// The pool.
    Pool,
    /// The task, on the node that was asked.
    Task,
}

/// Which operation holds a container's lock.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Lock {
    /// A backup.
    Backup,
    /// It is being created or cloned, and not complete yet.
    Create,
    /// It is being destroyed.
    Destroyed,
    /// Its disk is worked on; the source of a clone has it for as long as the clone takes.
    Disk,
    /// Its file system is trimmed.
    Fstrim,
    /// It moves to another node.
    Migrate,
    /// Its file system is mounted on the host.
    Mounted,
    /// A snapshot is brought back.
    Rollback,
    /// A snapshot is made.
    Snapshot,
    /// A snapshot is deleted.
    SnapshotDelete,
    /// One that a later release brought.
    Unknown,
}

impl Lock {
    /// Its name on the cluster.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Backup => "backup",
            Self::Create => "create",
            Self::Destroyed => "destroyed",
            Self::Disk => "disk",
            Self::Fstrim => "fstrim",
            Self::Migrate => "migrate",
            Self::Mounted => "mounted",
            Self::Rollback => "rollback",
            Self::Snapshot => "snapshot",
            Self::SnapshotDelete => "snapshot-delete",
            Self::Unknown => "unknown",
        }
    }
}

impl From<&str> for Lock {
    fn from(name: &str) -> Self {
        match name {
            "backup" => Self::Backup,
            "create" => Self::Create,
            "destroyed" => Self::Destroyed,
            "disk" => Self::Disk,
            "fstrim" => Self::Fstrim,
            "migrate" => Self::Migrate,
            "mounted" => Self::Mounted,
            "rollback" => Self::Rollback,
            "snapshot" => Self::Snapshot,
            "snapshot-delete" => Self::SnapshotDelete,
            _ => Self::Unknown,
        }
    }
}

impl Cause {
    /// The meaning of an error text, of an answer or of a task.
    pub fn of(words: &str) -> Self {
        if let Some(lock) = between(words, "CT is locked (", ")") {
            return Self::Locked(Lock::from(lock));
        }
        if let Some(missing) = missing(words) {
            return Self::Missing(missing);
        }
        if let Some(vmid) = taken(words) {
            return Self::AlreadyExists(vmid);
        }
        if lock_timeout(words) {
            return Self::LockTimeout;
        }
        KNOWN.iter().find(|(known, _)| words.contains(known)).map_or(Self::Other, |(_, cause)| cause.clone())
    }
}

/// The first that fits decides.
const KNOWN: [(&str, Cause); 28] = [
    ("Full clone of a running container is only possible from a snapshot", Cause::Running),
    ("already running", Cause::Running),
    ("not running", Cause::NotRunning),
    ("container is running", Cause::Running),
    ("if the CT is running", Cause::Running),
    ("you can't start a CT if it's a template", Cause::IsTemplate),
    ("you can't convert a template to a template", Cause::IsTemplate),
    ("because CT contains snapshots", Cause::HasSnapshots),
    ("protection mode enabled", Cause::Protected),
    ("used in HA resources", Cause::HighAvailability),
    ("still in use by linked clones", Cause::InUse),
    ("detected modified configuration", Cause::ConfigurationChanged),
    ("disk is already at specified size", Cause::AlreadyThatSize),
    ("unable to shrink disk size", Cause::CannotShrink),
    ("unable to get any free VMID", Cause::NoFreeVmId),
    ("Linked clone feature for", Cause::CloneImpossible),
    ("not allowed for linked clones", Cause::CloneImpossible),
    ("can't clone CT to node", Cause::CloneImpossible),
    ("unable to clone mountpoint", Cause::CloneImpossible),
    ("cluster not ready", Cause::ClusterNotReady),
    ("Unable to load access control list", Cause::ClusterNotReady),
    ("only allowed for root@pam", Cause::RootOnly),
    ("Only root may use this option", Cause::RootOnly),
    ("startup for container", Cause::StartFailed),
    ("container did not stop", Cause::DidNotStop),
    ("interrupted by signal", Cause::Interrupted),
    ("received interrupt", Cause::Interrupted),
    ("unexpected status", Cause::Interrupted),
];

fn missing(words: &str) -> Option<Missing> {
    let gone = |kind| {
        words.find(kind).is_some_and(|at| words.get(at..).is_some_and(|rest| rest.contains("does not exist")))
    };
    if let Some(path) = between(words, "Configuration file '", "' does not exist") {
        let file = path.rsplit('/').next().unwrap_or_default();
        return Some(Missing::Container(file.strip_suffix(".conf").and_then(|number| number.parse().ok())));
    }
    if words.contains("no such task") {
        return Some(Missing::Task);
    }
    if words.contains("no such cluster node") || words.contains("hostname lookup '") {
        return Some(Missing::Node);
    }
    [("storage '", Missing::Storage), ("bridge '", Missing::Bridge), ("pool '", Missing::Pool)]
        .into_iter()
        .find_map(|(kind, missing)| gone(kind).then_some(missing))
}

/// Whether the words say that a number is taken, and which.
fn taken(words: &str) -> Option<Option<VmId>> {
    let before = words.split_once(" already exists")?.0;
    let mut last = before.rsplit(' ');
    let number = last.next()?;
    matches!(last.next(), Some("CT" | "VM")).then(|| number.parse().ok())
}

fn lock_timeout(words: &str) -> bool {
    (words.contains("can't lock file '") && words.contains("got timeout"))
        || words.contains("got lock request timeout")
        || words.contains("-locked command timed out")
}

/// What stands between two texts, the first time.
pub(super) fn between<'a>(words: &'a str, before: &str, after: &str) -> Option<&'a str> {
    Some(words.split_once(before)?.1.split_once(after)?.0)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const CT: Option<VmId> = VmId::new(105);

    #[rstest]
    #[case("CT is locked (disk)", Cause::Locked(Lock::Disk))]
    #[case("CT is locked (snapshot-delete)", Cause::Locked(Lock::SnapshotDelete))]
    #[case("CT is locked (something-new)", Cause::Locked(Lock::Unknown))]
    #[case(
        "Configuration file 'nodes/pve1/lxc/105.conf' does not exist",
        Cause::Missing(Missing::Container(CT))
    )]
    #[case("storage 'x' does not exist", Cause::Missing(Missing::Storage))]
    #[case("bridge 'vmbr9' does not exist", Cause::Missing(Missing::Bridge))]
    #[case("no such cluster node 'x'", Cause::Missing(Missing::Node))]
    #[case("hostname lookup 'x' failed - failed to get address info", Cause::Missing(Missing::Node))]
    #[case("no such task", Cause::Missing(Missing::Task))]
    #[case("CT 105 already exists on node 'pve1'", Cause::AlreadyExists(CT))]
    #[case("VM 105 already exists on node 'pve1'", Cause::AlreadyExists(CT))]
    #[case("VM 105 already exists", Cause::AlreadyExists(CT))]
    #[case("unable to create CT 105 - CT 105 already exists on node 'pve1'", Cause::AlreadyExists(CT))]
    #[case("volume 'x' already exists", Cause::Other)]
    #[case("can't lock file '/run/lock/lxc/pve-config-105.lock' - got timeout", Cause::LockTimeout)]
    #[case(
        "clone failed: can't lock file '/var/lock/pve-manager/pve-storage-local-lvm' - got timeout",
        Cause::LockTimeout
    )]
    #[case("cfs-lock 'storage-nfs' error: got lock request timeout", Cause::LockTimeout)]
    #[case("'storage-nfs'-locked command timed out - aborting", Cause::LockTimeout)]
    #[case("command 'mkfs.ext4 /dev/x' failed: got timeout", Cause::Other)]
    #[case("CT 105 already running", Cause::Running)]
    #[case("unable to destroy CT 105 - container is running", Cause::Running)]
    #[case("you can't convert a CT to template if the CT is running", Cause::Running)]
    #[case("Full clone of a running container is only possible from a snapshot", Cause::Running)]
    #[case("CT 105 not running", Cause::NotRunning)]
    #[case("VM 105 not running", Cause::NotRunning)]
    #[case("you can't start a CT if it's a template", Cause::IsTemplate)]
    #[case("you can't convert a template to a template", Cause::IsTemplate)]
    #[case("unable to create template, because CT contains snapshots", Cause::HasSnapshots)]
    #[case("can't remove CT 105 - protection mode enabled", Cause::Protected)]
    #[case(
        "unable to remove CT 105 - used in HA resources and purge parameter not set.",
        Cause::HighAvailability
    )]
    #[case("base volume 'local-zfs:x' is still in use by linked clones", Cause::InUse)]
    #[case(
        "detected modified configuration - file changed by other user? Try again.",
        Cause::ConfigurationChanged
    )]
    #[case("disk is already at specified size", Cause::AlreadyThatSize)]
    #[case("unable to shrink disk size", Cause::CannotShrink)]
    #[case("unable to get any free VMID in range [500, 502]", Cause::NoFreeVmId)]
    #[case("Linked clone feature for 'local:1/a.raw' is not available", Cause::CloneImpossible)]
    #[case("parameter 'storage' not allowed for linked clones", Cause::CloneImpossible)]
    #[case("can't clone CT to node 'x' (CT uses local storage)", Cause::CloneImpossible)]
    #[case("unable to clone mountpoint 'mp0' (type bind)", Cause::CloneImpossible)]
    #[case("cluster not ready - no quorum?", Cause::ClusterNotReady)]
    #[case(
        "RPCEnvironment init request failed: Unable to load access control list: Connection refused",
        Cause::ClusterNotReady
    )]
    #[case("Only root may use this option.", Cause::RootOnly)]
    #[case("startup for container '105' failed", Cause::StartFailed)]
    #[case("container did not stop", Cause::DidNotStop)]
    #[case("clone failed: interrupted by signal", Cause::Interrupted)]
    #[case("unexpected status", Cause::Interrupted)]
    #[case("no options specified", Cause::Other)]
    #[case("", Cause::Other)]
    fn words_have_a_meaning(#[case] words: &str, #[case] cause: Cause) {
        assert_eq!(Cause::of(words), cause);
    }
}
