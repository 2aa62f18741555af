//! What is done on a node as root, since its API lets no token do it.

use sha2::{Digest, Sha256};

use super::{client::VmId, tun_lines::with_tun};
use crate::backend::{BackendError, ExecOutput, ExecRequest, Reason, ssh::HostShell};

/// Folder of the configuration files of a node's containers.
const CONFIGURATIONS: &str = "/etc/pve/lxc";
/// Where Proxmox VE locks them.
const LOCKS: &str = "/run/lock/lxc";
/// A configuration is a few kilobytes; with many snapshots it is more.
const GREATEST_CONFIGURATION: usize = 1 << 20;
/// Somebody else may change a configuration while we do.
const ATTEMPTS: usize = 5;

const EXIT_MISSING: i64 = 3;
const EXIT_LOCKED: i64 = 4;
const EXIT_CHANGED: i64 = 5;

/// `$1` the file.
const READ: &str = r#"
[ -f "$1" ] || exit 3
exec cat "$1"
"#;

/// `$1` the file, `$2` its lock, `$3` the checksum of what stands in it, `$4` the length of what is
/// to stand in it. Owner and mode of a file in `/etc/pve` are fixed and can not be set.
const REPLACE: &str = r#"
set -eu
[ -f "$1" ] || exit 3
mkdir -p "${2%/*}"
exec 9>>"$2"
flock -w 10 9 || exit 4
[ "$(sha256sum <"$1" | cut -c 1-64)" = "$3" ] || exit 5
draft=$1.tmp.$$
trap 'rm -f "$draft"' EXIT
trap '' PIPE
cat >"$draft"
if [ "$(($(wc -c <"$draft")))" -ne "$4" ]; then echo "the configuration was cut off" >&2; exit 1; fi
mv -f "$draft" "$1"
"#;

/// In a container; the arguments are public keys, a line each. A key that is there stays as it is.
const AUTHORIZE: &str = r#"
set -eu
umask 077
mkdir -p /root/.ssh
file=/root/.ssh/authorized_keys
for key do
  grep -qxF -e "$key" "$file" 2>/dev/null && continue
  # The last line may lack its end.
  [ ! -s "$file" ] || [ -z "$(tail -c 1 "$file")" ] || echo >>"$file"
  printf '%s
' "$key" >>"$file"
done
"#;

/// A command inside a running container, run as root there: `pct exec`. Its environment is that of
/// `pct`, and its working directory is `/`.
pub fn inside(vmid: VmId, command: ExecRequest) -> ExecRequest {
    let argv = ["pct", "exec", &vmid.to_string(), "--"].map(str::to_owned);
    ExecRequest {
        argv: argv.into_iter().chain(command.argv).collect(),
        user: "root".to_owned(),
        cwd: None,
        ..command
    }
}

/// Lets the owners of these keys into a running container as root. Safe to repeat.
pub async fn authorize(host: &dyn HostShell, vmid: VmId, keys: &[String]) -> Result<(), BackendError> {
    let command = ExecRequest::script("root", AUTHORIZE).with_args(keys);
    let output = host.run(inside(vmid, command)).await?;
    if output.exit_code == 0 {
        return Ok(());
    }
    let words = format!("pct exec {vmid}: {} (exit code {})", output.last_line(), output.exit_code);
    Err(BackendError::new(Reason::SshAuthFailed, words))
}

/// Gives a container of this node the device `/dev/net/tun`, which it has from its next start on.
/// Says whether anything was to be done. [`Reason::Locked`]: something else works on the container.
pub async fn give_tun(host: &dyn HostShell, vmid: VmId) -> Result<bool, BackendError> {
    let file = format!("{CONFIGURATIONS}/{vmid}.conf");
    let lock = format!("{LOCKS}/pve-config-{vmid}.lock");
    for _ in 0..ATTEMPTS {
        let read = ExecRequest {
            output_limit: GREATEST_CONFIGURATION + 1,
            ..ExecRequest::script("root", READ).with_args([&file])
        };
        let text = succeed(vmid, host.run(read).await?)?.stdout;
        if text.len() > GREATEST_CONFIGURATION {
            let words = format!("CT {vmid}: {file} is larger than {GREATEST_CONFIGURATION} bytes");
            return Err(BackendError::new(Reason::Failed, words));
        }
        let Some(wanted) = with_tun(&text) else { return Ok(false) };
        let checksum = hex::encode(Sha256::digest(&text));
        let length = wanted.len().to_string();
        let replace = ExecRequest {
            stdin: Some(wanted.into()),
            ..ExecRequest::script("root", REPLACE).with_args([&file, &lock, &checksum, &length])
        };
        let output = host.run(replace).await?;
        if output.exit_code != EXIT_CHANGED {
            return succeed(vmid, output).map(|_| true);
        }
    }
    Err(BackendError::new(Reason::Locked, format!("CT {vmid}: {file} is changed all the time")))
}

fn succeed(vmid: VmId, output: ExecOutput) -> Result<ExecOutput, BackendError> {
    let (reason, words) = match output.exit_code {
        0 => return Ok(output),
        EXIT_MISSING => (Reason::NotFound, "it has no configuration on this node".to_owned()),
        EXIT_LOCKED => (Reason::Locked, "its configuration is locked".to_owned()),
        code => (Reason::Failed, format!("{} (exit code {code})", output.last_line())),
    };
    Err(BackendError::new(reason, format!("CT {vmid}: {words}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_inside_a_container_is_one_of_pct() {
        let command = ExecRequest::script("dev", "echo $1").with_args(["a b"]);
        let request = inside("105".parse().unwrap(), command);
        assert_eq!(request.argv, ["pct", "exec", "105", "--", "/bin/sh", "-c", "echo $1", "berth", "a b"]);
        assert_eq!(request.user, "root");
    }
}
