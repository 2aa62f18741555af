//! Files and jobs in a guest, made of nothing but commands.
//!
//! The guest needs a POSIX shell and the usual small tools, of coreutils or busybox. Contents and
//! secrets travel through standard input, so that no process list and no log shows them.

use std::{collections::BTreeMap, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use secrecy::{ExposeSecret, SecretString};

use super::{BackendError, ExecOutput, ExecRequest, Guest, JobRequest, JobState, Reason, guest::FileRequest};

/// `$1` the file, `$2` its owner, `$3` its mode, `$4` its length. The length is compared, since
/// input that was cut off looks like a short file.
const WRITE_FILE: &str = r#"
set -eu
path=$1 owner=$2 mode=$3 length=$4
folder=${path%/*}
if [ -d "$path" ]; then echo "$path is a folder" >&2; exit 1; fi
(umask 022; mkdir -p "${folder:-/}")
umask 077
draft=$(mktemp "$folder/.berth.XXXXXX")
trap 'rm -f "$draft"' EXIT
# Where nobody hears any more what is said, the draft is removed all the same.
trap '' PIPE
cat >"$draft"
if [ "$(($(wc -c <"$draft")))" -ne "$length" ]; then echo "the content was cut off" >&2; exit 1; fi
chown "$owner:$(id -g "$owner")" "$draft"
chmod "$mode" "$draft"
mv -f "$draft" "$path"
"#;

/// Sets `start` to the time at which process `$1` started, or to nothing. The number of a process
/// alone is given to others after it.
const START_TIME: &str = r#"
start_time() {
  start=
  read -r start 2>/dev/null <"/proc/$1/stat" || return 0
  set -- ${start##*) }
  start=${20}
}
is_alive() {
  [ -f pid ] || return 1
  read -r process started <pid || return 1
  start_time "$process"
  [ -n "$start" ] && [ "$start" = "$started" ]
}
"#;

/// `$1` the job, `$2` its user; standard input: environment and script, a line of base64 each.
const PREPARE_JOB: &str = r#"
set -eu
umask 022
mkdir -p /run/berth/jobs
cd /run/berth/jobs
IFS= read -r environment && IFS= read -r script || { echo "the job was cut off" >&2; exit 1; }
umask 077
owner=$2:$(id -g "$2")
[ -d "$1" ] || { mkdir "$1" && chown "$owner" "$1"; }
cd "$1"
if [ -f exit ] || is_alive; then exit 0; fi
put() {
  draft=$(mktemp "../.$1.XXXXXX")
  base64 -d >"$draft"
  chown "$owner" "$draft"
  mv -f "$draft" "$1"
}
printf '%s\n' "$environment" | put env
printf '%s\n' "$script" | put script
"#;

/// `$1` the job's folder, `$2` what runs in the background. Ends when that has begun.
const LAUNCH_JOB: &str = r#"
set -eu
cd "$1"
[ ! -f exit ] || exit 0
if [ -f pid ]; then
  ! is_alive || exit 0
  read -r judged <pid || judged=
  [ "$judged" != "$process $started" ] || rm -f pid
fi
if command -v setsid >/dev/null 2>&1; then
  setsid /bin/sh -c "$2" berth-job "$1" </dev/null >/dev/null 2>&1 &
else
  nohup /bin/sh -c "$2" berth-job "$1" </dev/null >/dev/null 2>&1 &
fi
tries=0
until [ -f pid ]; do
  tries=$((tries + 1))
  if [ $tries -gt 200 ]; then echo "the job did not begin" >&2; exit 1; fi
  sleep 0.05 2>/dev/null || sleep 1
done
"#;

/// `$1` the job's folder. The link is the lock: of several that are launched, one runs.
const RUN_JOB: &str = r#"
cd "$1" || exit 1
umask 077
start_time $$
echo "$$ $start" >"pid.$$"
ln "pid.$$" pid 2>/dev/null || { rm -f "pid.$$"; exit 0; }
rm -f "pid.$$"
(
  umask 022
  . ./env
  rm -f ./env
  cd /
  exec /bin/sh "$1/script"
) >output 2>&1
echo $? >exit.new
mv -f exit.new exit
"#;

/// `$1` the job, `$2` how many tenths of a second to wait, `$3` how much of the output to show.
const LOOK_AT_JOB: &str = r#"
cd "/run/berth/jobs/$1" 2>/dev/null || { echo missing; exit 0; }
left=$2
while :; do
  if [ -f exit ]; then state="exited $(head -c 8 exit)"; break; fi
  if ! is_alive; then
    [ ! -f exit ] || continue
    state=missing
    break
  fi
  if [ "$left" -le 0 ]; then state=running; break; fi
  left=$((left - 1))
  sleep 0.1 2>/dev/null || { sleep 1; left=$((left - 9)); }
done
echo "$state"
[ ! -f output ] || tail -c "$3" output
"#;

/// How much of a job's output is shown.
const JOB_OUTPUT: usize = 4 << 10;
/// What a look may take beyond the patience it was given.
const LOOK_MARGIN: Duration = Duration::from_secs(20);

/// Writes a file, see [`Guest::write_file`].
pub async fn write_file<G: Guest + ?Sized>(guest: &G, file: FileRequest) -> Result<(), BackendError> {
    let action = format!("write {}", file.path);
    if !file.path.starts_with('/') || file.path.ends_with('/') {
        return Err(BackendError::new(Reason::Unsupported, format!("{action}: not the path of a file")));
    }
    let length = file.content.expose_secret().len().to_string();
    let mode = format!("{:o}", file.mode);
    let request = ExecRequest {
        stdin: Some(file.content),
        ..ExecRequest::script("root", WRITE_FILE).with_args([file.path, file.owner, mode, length])
    };
    succeed(&action, guest.run(request).await?).map(drop)
}

/// Starts a job, see [`Guest::start_job`]. What belongs to it is in `/run/berth/jobs/<name>`, a
/// place that is empty after each boot. It starts in `/`.
pub async fn start_job<G: Guest + ?Sized>(guest: &G, job: JobRequest) -> Result<(), BackendError> {
    let action = format!("start job {}", job.name);
    check_name(&job.name)?;
    let environment = environment(&job.env)
        .map_err(|words| BackendError::new(Reason::Unsupported, format!("{action}: {words}")))?;
    let encode = |text: &str| BASE64_STANDARD.encode(text);
    let files = format!("{}\n{}\n", encode(&environment), encode(&job.script));
    let prepare = ExecRequest {
        stdin: Some(files.into()),
        ..ExecRequest::script("root", &with_helpers(PREPARE_JOB)).with_args([&job.name, &job.user])
    };
    succeed(&action, guest.run(prepare).await?)?;
    let folder = format!("/run/berth/jobs/{}", job.name);
    let launch =
        ExecRequest::script(&job.user, &with_helpers(LAUNCH_JOB)).with_args([folder, with_helpers(RUN_JOB)]);
    succeed(&action, guest.run(launch).await?).map(drop)
}

/// Looks at a job, see [`Guest::look_at_job`].
pub async fn look_at_job<G: Guest + ?Sized>(
    guest: &G,
    name: &str,
    patience: Duration,
) -> Result<JobState, BackendError> {
    check_name(name)?;
    let tenths = patience.as_millis().div_ceil(100).to_string();
    let request = ExecRequest {
        timeout: patience + LOOK_MARGIN,
        output_limit: JOB_OUTPUT + 64,
        ..ExecRequest::script("root", &with_helpers(LOOK_AT_JOB)).with_args([
            name,
            &tenths,
            &JOB_OUTPUT.to_string(),
        ])
    };
    let report = succeed(&format!("look at job {name}"), guest.run(request).await?)?;
    Ok(job_state(&report.stdout))
}

fn with_helpers(script: &str) -> String {
    format!("{START_TIME}{script}")
}

fn job_state(report: &str) -> JobState {
    let (state, output) = report.split_once('\n').unwrap_or((report, ""));
    let output = output.to_owned();
    match state.split_once(' ') {
        // What is no number was not written by us.
        Some(("exited", code)) => JobState::Exited { code: code.trim().parse().unwrap_or(255), output },
        _ if state == "running" => JobState::Running { output },
        _ => JobState::Missing,
    }
}

fn check_name(name: &str) -> Result<(), BackendError> {
    let is_good = |letter: char| letter.is_ascii_alphanumeric() || letter == '-';
    if !name.is_empty() && name.chars().all(is_good) {
        return Ok(());
    }
    Err(BackendError::new(Reason::Unsupported, format!("{name:?} is no name for a job")))
}

/// A file that sets and exports the variables when a shell reads it.
fn environment(variables: &BTreeMap<String, SecretString>) -> Result<String, String> {
    variables.iter().map(|(name, value)| export(name, value.expose_secret())).collect()
}

/// A line that sets and exports a variable. Says what is wrong with one that no shell can hold.
pub fn export(name: &str, value: &str) -> Result<String, String> {
    let is_first = |letter: char| letter.is_ascii_alphabetic() || letter == '_';
    let is_name =
        name.starts_with(is_first) && name.chars().all(|letter| is_first(letter) || letter.is_ascii_digit());
    if !is_name {
        return Err(format!("{name:?} is no name for a variable"));
    }
    if value.contains('\0') {
        return Err(format!("{name} contains a zero byte"));
    }
    Ok(format!("export {name}={}\n", quote(value)))
}

/// A text as one word of a POSIX shell, nothing in it expanded.
pub fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

fn succeed(action: &str, output: ExecOutput) -> Result<ExecOutput, BackendError> {
    if output.exit_code == 0 {
        return Ok(output);
    }
    let words = format!("{action}: {} (exit code {})", output.last_line(), output.exit_code);
    Err(BackendError::new(Reason::Failed, words))
}
