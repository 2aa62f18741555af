//! How a command reaches a guest's shell.
//!
//! The command line that the SSH server hands to the login shell is always the same. What varies
//! comes on standard input, in two lines of base64 before the command's own input: the first is for
//! root, who announces the process and becomes the user; the second is for the user, with
//! environment and command. So no list of processes, no log of the server and no shell's expansion
//! ever has a part of it before the command itself runs, and whatever the variables are, no program
//! of root's is started with them.

use base64::{Engine, prelude::BASE64_STANDARD};
use secrecy::SecretString;

use crate::backend::{ExecRequest, shell};

/// A POSIX shell that reads a line and does what it says. `read` takes nothing beyond the line.
const OBEY: &str = r#"IFS= read -r berth && eval "$(printf %s "$berth" | base64 -d)""#;

/// `$berth_user` the user, `$berth_folder` the working directory, `$berth_obey` as [`OBEY`].
/// Servers that do not let each command lead a process group of its own are made up for.
const BECOME_USER: &str = r#"
unset SSH_CLIENT SSH_CONNECTION SSH_TTY SSH_ORIGINAL_COMMAND SSH_USER_AUTH MAIL ENV BASH_ENV \
  XDG_RUNTIME_DIR XDG_SESSION_ID XDG_SESSION_TYPE XDG_SESSION_CLASS DBUS_SESSION_BUS_ADDRESS
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
umask 022
find_user() {
  while IFS=: read -r name _ uid gid _ home _; do
    [ "$name" != "$berth_user" ] || return 0
  done </etc/passwd
  echo "user $berth_user does not exist" >&2
  exit 1
}
find_user
cd "$berth_folder" || exit 1
HOME=${home:-/} USER=$berth_user LOGNAME=$berth_user
export PATH HOME USER LOGNAME
leads_group() {
  read -r stat <"/proc/$$/stat" || return 0
  set -- ${stat##*) }
  [ "$3" = "$$" ]
}
set -- /bin/sh -c "$berth_obey"
if [ "$uid" != 0 ]; then
  # So that /dev/stderr and the like can be opened. Without redirections: dash has those itself
  # while the command runs.
  chown -f "$uid:$gid" "/proc/$$/fd/0" "/proc/$$/fd/1" "/proc/$$/fd/2" || :
  case $(setpriv --help 2>&1) in
    *--init-groups*) set -- setpriv --reuid="$uid" --regid="$gid" --init-groups -- "$@" ;;
    *)
      if command -v runuser >/dev/null 2>&1; then
        set -- runuser -u "$berth_user" -- "$@"
      else
        # Without a session of its own, which would be a process group of its own.
        case $(su --help 2>&1) in
          *--session-command*) set -- su -s /bin/sh --session-command="$berth_obey" "$berth_user" ;;
          *) set -- su -s /bin/sh -c "$berth_obey" "$berth_user" ;;
        esac
      fi
      ;;
  esac
fi
leads_group || set -- setsid "$@"
echo $$ >&2
exec "$@"
"#;

/// What the SSH server is asked to run.
pub(super) fn command() -> String {
    format!("exec /bin/sh -c {}", shell::quote(OBEY))
}

/// The lines before the input of the command. Says what is wrong with a request that no shell can
/// carry out.
pub(super) fn preamble(request: &ExecRequest) -> Result<SecretString, String> {
    let user = words_of("the user", &request.user)?;
    let folder = words_of("the working directory", request.cwd.as_deref().unwrap_or("/"))?;
    let obey = shell::quote(OBEY);
    let root = format!("berth_user={user} berth_folder={folder} berth_obey={obey}{BECOME_USER}");
    let mut command = String::new();
    for (name, value) in &request.env {
        command.push_str(&shell::export(name, value)?);
    }
    command.push_str("set --");
    for word in &request.argv {
        command.push(' ');
        command.push_str(&words_of("the command", word)?);
    }
    command.push_str("\nexec \"$@\"\n");
    let [root, command] = [root, command].map(|text| BASE64_STANDARD.encode(text));
    Ok(format!("{root}\n{command}\n").into())
}

fn words_of(what: &str, text: &str) -> Result<String, String> {
    if text.contains('\0') {
        return Err(format!("{what} contains a zero byte"));
    }
    Ok(shell::quote(text))
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        process::{Command, Output, Stdio},
    };

    use proptest::prelude::*;
    use rstest::rstest;
    use secrecy::ExposeSecret;

    use super::*;

    /// Runs a request as an SSH server would, with its input.
    fn run(login_shell: &str, request: &ExecRequest, input: &str) -> Output {
        let mut child = Command::new(login_shell)
            .args(["-c", &command()])
            .env("SSH_CONNECTION", "x")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(preamble(request).unwrap().expose_secret().as_bytes()).unwrap();
        // A command need not read all of its input.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        child.wait_with_output().unwrap()
    }

    fn me() -> String {
        String::from_utf8(Command::new("id").arg("-un").output().unwrap().stdout).unwrap().trim().to_owned()
    }

    fn text() -> impl Strategy<Value = String> {
        prop_oneof![
            "[\\x01-\\x20'\"$`\\\\!~*?#;&|<>(){}\\[\\]=%\u{7f}äé€😀a-z-]{0,30}",
            "[a-z'\\n]{0,20}\\n{0,3}",
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn words_variables_and_input_arrive_as_they_are(
            words in proptest::collection::vec(text(), 0..4),
            value in text(),
            input in text(),
        ) {
            let script = r#"printf '%s\0' "$@" "$VALUE"; cat"#;
            let mut request = ExecRequest::script(&me(), script).with_args(&words);
            request.env.insert("VALUE".to_owned(), value.clone());
            let output = run("sh", &request, &input);
            let mut wanted = words.iter().chain([&value]).fold(String::new(), |all, word| all + word + "\0");
            wanted.push_str(&input);
            prop_assert_eq!(String::from_utf8_lossy(&output.stdout), wanted);
        }
    }

    #[rstest]
    #[case("sh")]
    #[case("bash")]
    fn it_leads_its_group_in_a_clean_place(#[case] login_shell: &str) {
        let script = r#"pwd; umask; echo "${SSH_CONNECTION-none} $USER"; ps -o pgid= -p $$ | tr -d ' '"#;
        let request = ExecRequest { cwd: Some("/usr".into()), ..ExecRequest::script(&me(), script) };
        let output = run(login_shell, &request, "");
        let announced = String::from_utf8(output.stderr).unwrap();
        let wanted = format!("/usr\n0022\nnone {}\n{announced}", me());
        assert_eq!(String::from_utf8(output.stdout).unwrap(), wanted);
    }

    #[rstest]
    #[case("nobody-here", "/", "user nobody-here does not exist")]
    #[case("root", "/no/where", "/no/where")]
    fn what_can_not_be_is_said_and_not_announced(
        #[case] user: &str,
        #[case] folder: &str,
        #[case] words: &str,
    ) {
        let request = ExecRequest { cwd: Some(folder.into()), ..ExecRequest::script(user, "true") };
        let output = run("sh", &request, "");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(words), "{said}");
        assert_eq!((output.status.code().map(|code| code > 0), said.lines().count()), (Some(true), 1));
    }

    #[rstest]
    #[case(ExecRequest::script("a\0b", ""))]
    #[case(ExecRequest::script("dev", "a\0b"))]
    #[case(ExecRequest { env: [("A;id".to_owned(), String::new())].into(), ..ExecRequest::script("dev", "") })]
    fn what_no_shell_can_hold_is_refused(#[case] request: ExecRequest) {
        assert!(preamble(&request).is_err());
    }
}
