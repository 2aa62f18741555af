//! The command `pct`, which is this program called by that name.

use std::{path::Path, process::ExitCode};

use tokio::{io::AsyncWriteExt as _, net::UnixStream};

use super::protocol::{Frame, Request, SOCKET};

/// What Proxmox VE's own commands end with when they fail.
const FAILED: u8 = 255;

/// Whether the program was called as `pct`.
pub fn is_called(program: Option<&str>) -> bool {
    program.and_then(|path| Path::new(path).file_name()) == Some("pct".as_ref())
}

/// Does what the arguments say, without the program's name. Returns what the process ends with. It
/// has a runtime of its own, and does not wait for an input that does not end.
pub fn run(arguments: &[String]) -> ExitCode {
    let done = parse(arguments).and_then(|request| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let simulator = |error| format!("simulator: {error}");
        let runtime = runtime.map_err(simulator)?;
        let done = runtime.block_on(ask(&request)).map_err(simulator);
        runtime.shutdown_background();
        done
    });
    match done {
        // An exit code has 8 bits.
        Ok(code) => ExitCode::from((code & 0xff) as u8),
        Err(words) => {
            eprintln!("{words}");
            ExitCode::from(FAILED)
        }
    }
}

fn parse(arguments: &[String]) -> Result<Request, String> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["exec", vmid, rest @ ..] => {
            let argv = rest.strip_prefix(&["--"]).unwrap_or(rest);
            if argv.is_empty() {
                return Err("no command specified".to_owned());
            }
            let argv = argv.iter().map(|word| (*word).to_owned()).collect();
            Ok(Request::Exec { vmid: number(vmid)?, argv })
        }
        ["status", vmid] => Ok(Request::Status { vmid: number(vmid)? }),
        ["config", vmid] => Ok(Request::Config { vmid: number(vmid)? }),
        ["unlock", vmid] => Ok(Request::Unlock { vmid: number(vmid)? }),
        [command @ ("exec" | "status" | "config" | "unlock"), ..] => {
            Err(format!("400 wrong arguments\nusage: pct {command} <vmid>"))
        }
        [command, ..] => Err(format!("ERROR: unknown command 'pct {command}'")),
        [] => Err("ERROR: no command specified".to_owned()),
    }
}

fn number(vmid: &str) -> Result<u32, String> {
    let number = vmid.parse().ok().filter(|number| (100..=999_999_999).contains(number));
    number.ok_or_else(|| {
        "400 Parameter verification failed.\nvmid: invalid format - value does not look like a valid VM ID"
            .to_owned()
    })
}

async fn ask(request: &Request) -> std::io::Result<i32> {
    let path = std::env::var_os(SOCKET).ok_or(std::io::ErrorKind::NotFound)?;
    let (mut answer, mut question) = UnixStream::connect(path).await?.into_split();
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    question.write_all(&line).await?;
    let input = async {
        if matches!(request, Request::Exec { .. }) {
            // Whoever ends first need not have taken all of it.
            let _ = tokio::io::copy(&mut tokio::io::stdin(), &mut question).await;
        }
        let _ = question.shutdown().await;
        std::future::pending().await
    };
    let output = async {
        let (mut stdout, mut stderr) = (tokio::io::stdout(), tokio::io::stderr());
        loop {
            match Frame::read(&mut answer).await? {
                Frame::Stdout(bytes) => stdout.write_all(&bytes).await?,
                Frame::Stderr(bytes) => stderr.write_all(&bytes).await?,
                Frame::Exit(code) => {
                    stdout.flush().await?;
                    stderr.flush().await?;
                    return Ok(code);
                }
            }
        }
    };
    tokio::select! {
        never = input => never,
        code = output => code,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    fn exec(argv: &str) -> Request {
        Request::Exec { vmid: 105, argv: words(argv) }
    }

    #[rstest]
    #[case::exec("exec 105 -- id -u", exec("id -u"))]
    #[case::without_the_dashes("exec 105 id -u", exec("id -u"))]
    #[case::dashes_of_the_command("exec 105 -- sh -- x", exec("sh -- x"))]
    #[case::status("status 105", Request::Status { vmid: 105 })]
    #[case::config("config 105", Request::Config { vmid: 105 })]
    #[case::unlock("unlock 105", Request::Unlock { vmid: 105 })]
    fn arguments_are_understood(#[case] line: &str, #[case] expected: Request) {
        assert_eq!(parse(&words(line)), Ok(expected));
    }

    #[rstest]
    #[case::nothing("", "ERROR: no command specified")]
    #[case::unknown("migrate 105", "ERROR: unknown command 'pct migrate'")]
    #[case::no_number("status x", "400 Parameter verification failed.")]
    #[case::too_low("status 99", "400 Parameter verification failed.")]
    #[case::too_many("status 105 106", "400 wrong arguments")]
    #[case::no_command("exec 105 --", "no command specified")]
    fn others_are_refused(#[case] line: &str, #[case] expected: &str) {
        let words = parse(&words(line)).unwrap_err();
        assert_eq!(words.lines().next(), Some(expected));
    }

    #[rstest]
    #[case(Some("/run/x/bin/pct"), true)]
    #[case(Some("pct"), true)]
    #[case(Some("/usr/bin/proxmox-simulator"), false)]
    #[case(None, false)]
    fn the_name_decides(#[case] program: Option<&str>, #[case] expected: bool) {
        assert_eq!(is_called(program), expected);
    }
}
