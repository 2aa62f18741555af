//! The agent's program in containers that are reached by SSH: a folder of its own for each version,
//! and a service of the container's init.
//!
//! The service runs the version that the container got first. A later one is put beside it, and
//! run by that as an update, as everywhere.

use std::time::Duration;

use sha2::{Digest, Sha256};

use super::SshGuest;
use crate::backend::{AgentBinary, AgentProgram, BackendError, ExecOutput, ExecRequest, Reason};

const FOLDER: &str = "/opt/berth";
const NAME: &str = "berth-agent";
/// What the upload of a few megabytes may take.
const UPLOAD_LIMIT: Duration = Duration::from_secs(120);
/// What the init may take to start a service.
const SERVICE_LIMIT: Duration = Duration::from_secs(60);

/// `$1` the program, `$2` its checksum. Ends with 0 when it is there, root's and whole.
const LOOK: &str = r#"
[ -x "$1" ] && [ -O "$1" ] && [ "$(sha256sum <"$1" | cut -c 1-64)" = "$2" ]
"#;

/// `$1` the program, `$2` its checksum. The program comes on standard input.
const UPLOAD: &str = r#"
set -eu
umask 022
folder=${1%/*}
mkdir -p "$folder"
chown 0:0 "$folder"
draft=$(mktemp "$folder/.draft.XXXXXX")
trap 'rm -f "$draft"' EXIT
trap '' PIPE
cat >"$draft"
if [ "$(sha256sum <"$draft" | cut -c 1-64)" != "$2" ]; then echo "the program was damaged on its way" >&2; exit 1; fi
chmod 755 "$draft"
mv -f "$draft" "$1"
"#;

const SERVICE: &str = include_str!("scripts/agent_service.sh");

/// Sees to it that a container has this version of the program, and that the agent is a service
/// that runs.
pub async fn deliver(guest: &SshGuest, agent: &AgentBinary) -> Result<AgentProgram, BackendError> {
    let program = format!("{FOLDER}/{}/{NAME}", agent.digest);
    let checksum = hex::encode(Sha256::digest(&agent.content));
    let arguments = [program.as_str(), &checksum];
    let look = ExecRequest::script("root", LOOK).with_args(arguments);
    if guest.run_with(&look, b"").await?.exit_code != 0 {
        let upload =
            ExecRequest { timeout: UPLOAD_LIMIT, ..ExecRequest::script("root", UPLOAD).with_args(arguments) };
        succeed(guest.run_with(&upload, &agent.content).await?)?;
    }
    let service = ExecRequest {
        timeout: SERVICE_LIMIT,
        ..ExecRequest::script("root", SERVICE).with_args([&agent.digest])
    };
    let output = succeed(guest.run_with(&service, b"").await?)?;
    Ok(match output.stdout.lines().last() {
        Some("present") => AgentProgram::Present,
        _ => AgentProgram::Update(program),
    })
}

fn succeed(output: ExecOutput) -> Result<ExecOutput, BackendError> {
    if output.exit_code == 0 {
        return Ok(output);
    }
    let words = format!("deliver the agent: {} (exit code {})", output.last_line(), output.exit_code);
    Err(BackendError::new(Reason::Failed, words))
}
