//! Makes a fresh container of a distribution fit for a template, and takes out of it what its
//! clones must not share.
//!
//! The first is a job, since packages take their time. The second is one command: it removes the
//! SSH host keys, and nobody is let in anew after that.

use std::{collections::BTreeMap, time::Duration};

use secrecy::SecretString;

use crate::backend::{
    ExecOutput, ExecRequest, JobRequest,
    guest::{FileRequest, last_line},
};

use super::{Environment, ProvisionError, ProvisionReason, Proxy, certificates, user};

/// Name of the job. A later attempt on the same boot of the container needs one of its own.
pub const JOB_NAME: &str = "template";

/// What every workspace needs.
pub const CORE_PACKAGES: &[&str] =
    &["openssh-server", "git", "ca-certificates", "curl", "procps", "iproute2", "less", "bash", "e2fsprogs"];

const PREPARE: &str = include_str!("scripts/template.sh");
const CLEAN: &str = include_str!("scripts/clean.sh");
/// Removing files is quick, but there may be many.
const CLEAN_LIMIT: Duration = Duration::from_secs(120);

/// What a container is to be given.
#[derive(Clone, Debug, Default)]
pub struct TemplateRequest {
    /// The user that works in workspaces.
    pub user: String,
    /// Packages beside [`CORE_PACKAGES`].
    pub packages: Vec<String>,
    /// The way out, for fetching packages.
    pub proxy: Proxy,
    /// Certificate authorities to trust while packages are fetched, in PEM.
    pub extra_ca: Option<String>,
}

/// Whether a text can be handed to a package manager as a package, perhaps with its version.
pub fn is_package(text: &str) -> bool {
    text.len() <= 128
        && text.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "+.:~=-".contains(c))
}

/// The file of authorities that the job needs beforehand, where there are any. It is no variable of
/// the job, as Linux takes none of more than 128 KiB, and all authorities of a system are more than
/// that. Cleaning removes it.
pub fn template_authorities(request: &TemplateRequest) -> Option<FileRequest> {
    let bundle = request.extra_ca.as_deref().filter(|bundle| !bundle.trim().is_empty())?;
    Some(FileRequest {
        path: certificates::EXTRA.to_owned(),
        content: certificates::normalized(bundle).into(),
        owner: "root".to_owned(),
        mode: 0o644,
    })
}

/// The job that makes a container fit, after [`template_authorities`]. Its outcome is read by
/// [`template_outcome`]; it may be repeated.
pub fn template_job(request: &TemplateRequest) -> JobRequest {
    let mut environment = Environment::default();
    request.proxy.announce(&mut environment);
    let mut env: BTreeMap<String, SecretString> =
        environment.public.into_iter().map(|(name, value)| (name, value.into())).collect();
    env.extend(environment.secret);
    let packages = CORE_PACKAGES.iter().map(|name| (*name).to_owned());
    let packages: Vec<String> = packages.chain(request.packages.iter().cloned()).collect();
    env.insert("BERTH_TEMPLATE_PACKAGES".to_owned(), packages.join(" ").into());
    env.insert("BERTH_TEMPLATE_USER".to_owned(), request.user.clone().into());
    if let Some(file) = template_authorities(request) {
        env.insert("BERTH_TEMPLATE_CA".to_owned(), file.path.into());
    }
    // The user comes after the packages: its shell is one of them.
    let script =
        format!("{PREPARE}\nset -- \"$BERTH_TEMPLATE_USER\"\n{}\nlock_passwords \"$1\"\n", user::SCRIPT);
    JobRequest { name: JOB_NAME.to_owned(), script, user: "root".to_owned(), env }
}

/// What a job, or the command that cleans, has come to.
pub fn template_outcome(code: i64, output: &str) -> Result<(), ProvisionError> {
    let reason = match code {
        0 => return Ok(()),
        3 => ProvisionReason::PackageNotFound,
        4 => ProvisionReason::PackageManagerMissing,
        5 => ProvisionReason::PackagesUnavailable,
        _ => {
            let output = ExecOutput { exit_code: code, stdout: output.to_owned(), stderr: String::new() };
            return Err(ProvisionError::of_script(&output));
        }
    };
    Err(ProvisionError::new(reason, last_line(output).unwrap_or("it said nothing")))
}

/// The command that takes out what must not be shared, for root. Safe to repeat.
pub fn clean_command(user: &str) -> ExecRequest {
    let mut command = ExecRequest::script("root", CLEAN).with_args([user]);
    command.timeout = CLEAN_LIMIT;
    command
}

#[cfg(test)]
#[path = "template_tests.rs"]
mod tests;
