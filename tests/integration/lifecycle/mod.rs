//! The life of a Workspace, once for all kinds of backends: each case is written down once, and
//! runs on every [`stage`] that [`CASES`] names for it.
//!
//! A further backend is one file with a [`stage::Stage`], one line in [`STAGES`] and one in
//! `stage_of`, and its name behind the cases that hold for it. What only one kind of backend can
//! do is tested elsewhere: nothing here asks which backend it runs on.

mod cases;
mod docker;
mod memory;
mod proxmox;
mod stage;
mod table;

use cases::*;
pub use docker::DockerStage;
pub use stage::{Stage, lay_over};

/// The names of the stages in [`CASES`], and what people call them.
const STAGES: &[(&str, &str)] = &[("docker", "Docker"), ("memory", "in memory"), ("proxmox", "Proxmox VE")];

/// A stage by its name in [`CASES`].
macro_rules! stage_of {
    (docker) => {
        $crate::lifecycle::docker::DockerStage
    };
    (proxmox) => {
        $crate::lifecycle::proxmox::ProxmoxStage
    };
    (memory) => {
        $crate::lifecycle::memory::MemoryStage
    };
}

/// A case as the documentation shows it.
struct Case {
    subject: &'static str,
    name: &'static str,
    words: &'static str,
    /// The stages that it runs on, each with what the table says there.
    stages: &'static [(&'static str, &'static str)],
}

/// Makes [`CASES`] and one test for each case on each of its stages, called `CASE::STAGE`. What is
/// different on a stage stands behind its name.
macro_rules! cases {
    ($($subject:literal {
        $($name:ident = $words:literal: $file:ident::$case:ident $arguments:tt
            on $($stage:ident $(($note:literal))?)+;)+
    })+) => {
        const CASES: &[Case] = &[$($(
            Case {
                subject: $subject,
                name: stringify!($name),
                words: $words,
                stages: &[$((stringify!($stage), concat!("yes" $(, ": ", $note)?))),+],
            },
        )+)+];

        $($(
            mod $name {
                #[allow(unused_imports)]
                use super::*;

                $(
                    #[tokio::test(flavor = "multi_thread")]
                    async fn $stage() {
                        $file::$case::<stage_of!($stage)> $arguments.await;
                    }
                )+
            }
        )+)+
    };
}

cases! {
    "Making" {
        becomes_ready = "A Workspace with a repository, variables and limits becomes Ready":
            making::becomes_ready() on docker memory proxmox;
        corrected_template_counts = "`ImageNotFound`; a corrected Template counts until there is a container":
            making::corrected_template_counts() on docker memory proxmox("`TemplateImageMissing`");
        place_taken_by_somebody_else = "`NameConflict`: a container of somebody else has the name, and stays untouched":
            making::place_taken_by_somebody_else() on docker memory proxmox("`VmidInUse`, and its VMID");
    }
    "Failures before anything is made" {
        secret_missing = "`SecretNotFound`": failures::before_anything_is_made(failures::SECRET) on docker memory proxmox;
        secret_key_missing = "`SecretKeyNotFound`": failures::before_anything_is_made(failures::SECRET_KEY) on docker memory proxmox;
        config_map_missing = "`ConfigMapNotFound`": failures::before_anything_is_made(failures::CONFIG_MAP) on docker memory proxmox;
        reserved_variable = "`EnvironmentInvalid`": failures::before_anything_is_made(failures::RESERVED_VARIABLE) on docker memory proxmox;
        template_missing = "`TemplateNotFound`": failures::before_anything_is_made(failures::TEMPLATE) on docker memory proxmox;
        template_not_shared = "`TemplateForbidden`": failures::before_anything_is_made(failures::FOREIGN_TEMPLATE) on docker memory proxmox;
        backend_missing = "`BackendNotFound`": failures::before_anything_is_made(failures::BACKEND) on docker memory proxmox;
        host_missing = "`HostNotFound`": failures::host_missing() on docker memory proxmox;
        limit_exceeded = "`ResourceLimitExceeded`": failures::before_anything_is_made(failures::LIMIT) on docker memory proxmox;
        what_was_missing_comes = "What was missing comes, and the Workspace goes on by itself":
            failures::what_was_missing_comes() on docker memory proxmox;
    }
    "Power" {
        suspended_and_resumed = "Suspended and resumed, with everything kept": power::suspended_and_resumed() on docker memory proxmox;
        ends_by_itself = "The container ends by itself, and is started again": power::ends_by_itself() on docker memory proxmox;
        restarted_by_others = "Somebody restarts the container on its host; it is set up again":
            power::restarted_by_others() on docker memory proxmox;
        restarted_on_request = "`restartNonce` restarts the container": power::restarted_on_request() on docker memory proxmox;
    }
    "The operator is killed" {
        killed_initializing = "in `Initializing`": crash::killed_in("Initializing") on docker memory proxmox;
        killed_creating = "in `CreatingContainer`": crash::killed_in("CreatingContainer") on docker memory proxmox;
        killed_starting = "in `StartingContainer`": crash::killed_in("StartingContainer") on docker memory proxmox;
        killed_configuring = "in `ConfiguringNetwork`": crash::killed_in("ConfiguringNetwork") on docker memory proxmox;
        killed_cloning = "in `CloningRepository`": crash::killed_in("CloningRepository") on docker memory proxmox;
        killed_suspending = "while it suspends": crash::killed_while_suspending() on docker memory proxmox;
        killed_removing = "while it removes": crash::killed_while_removing() on docker memory proxmox;
    }
    "Something is lost" {
        status_lost = "The status, while the operator watches": loss::status_lost(true) on docker memory proxmox;
        status_lost_unseen = "The status, while no operator is there": loss::status_lost(false) on docker memory proxmox;
        status_lost_suspended = "The status of a suspended Workspace": loss::status_lost_while_suspended() on docker memory proxmox;
        status_lost_making = "The status, while the container is made": loss::status_lost_while_it_is_made() on docker memory proxmox;
        status_lost_deleted = "The status, and then the Workspace is deleted": loss::status_lost_before_the_deletion() on docker memory proxmox;
        container_lost = "The container; another one is made, with the files that were not in it":
            loss::container_lost() on docker memory proxmox("all files were in it");
        status_and_container_lost = "Status and container": loss::status_and_container_lost()
            on docker memory proxmox("nothing of it is left, and another is made");
    }
    "The backend is away" {
        outage_over = "An outage is said, and over when the backend is back": outage::comes_and_goes() on docker memory proxmox;
        outage_making = "While the container is made": outage::while_it_is_made() on docker memory proxmox;
        outage_short = "A short outage disturbs nothing": outage::over_at_once() on docker memory proxmox;
        outage_at_start = "The operator starts while it is away": outage::operator_starts_in_it() on docker memory proxmox;
        outage_deletion = "A deletion waits for it": outage::deletion_in_it() on docker memory proxmox;
        outage_ledger = "A deletion waits no longer than `timeouts.deletion`; the rest is in the ledger":
            removal::backend_does_not_come_back_in_time() on docker memory proxmox;
        last_ways_out = "`berth.dev/force` and `berth.dev/orphan`": removal::last_ways_out() on docker memory proxmox;
    }
    "Deletion" {
        deleted_in_a_phase = "From `Pending`, `Failed`, `Suspended` and `Running`": removal::from_every_phase() on docker memory proxmox;
        deleted_in_a_step = "In the middle of each step": removal::from_every_step() on docker memory proxmox;
        volumes_retained = "`retainVolumes` keeps the volumes and nothing else": removal::retained_volumes_stay()
            on docker memory proxmox("the container stays, stopped");
    }
}
