//! Commands that lead a process group of their own, so that they can be ended with their children.

use std::time::Duration;

use super::ExecRequest;

/// Exit code of a command that was given up, as `timeout(1)` has it.
pub(super) const GIVEN_UP: i64 = 124;
/// What killing a command may take.
pub(super) const KILL_LIMIT: Duration = Duration::from_secs(5);

/// `$1` is the leader of the group.
const KILL: &str = r#"
kill -TERM "-$1" 2>/dev/null || exit 0
n=0
while kill -0 "-$1" 2>/dev/null && [ $n -lt 10 ]; do n=$((n + 1)); sleep 0.1; done
kill -KILL "-$1" 2>/dev/null
exit 0
"#;

/// The command that ends the group of a process: asked to at first, then killed.
pub(super) fn kill(leader: &str) -> ExecRequest {
    ExecRequest { timeout: KILL_LIMIT, ..ExecRequest::script("root", KILL).with_args([leader]) }
}
