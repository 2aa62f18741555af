//! The processes, as `/proc` tells.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::Read,
    os::unix::fs::MetadataExt,
    path::Path,
};

use berth_link::wire::system::SystemProcess;
use jiff::Timestamp;
use nix::unistd::{SysconfVar, sysconf};

use super::ports;

/// Most processes that are told.
const MOST: usize = 10_000;
/// Most bytes of a command line.
const COMMAND: u64 = 1 << 10;
/// Parts of a second that Linux tells times in, on every machine.
pub const TICKS: u64 = 100;

/// What does not change from process to process.
struct Surroundings {
    users: HashMap<u32, String>,
    ports: HashMap<u64, u16>,
    page: u64,
    booted_at: Option<i64>,
}

/// What `/proc/{pid}/stat` tells.
#[derive(Debug, Eq, PartialEq)]
pub struct Line {
    name: String,
    state: String,
    parent: u32,
    ticks: u64,
    /// Ticks between the boot and its start.
    pub started: u64,
    pages: u64,
}

/// Every process, by number.
pub fn all(folder: &Path) -> Vec<SystemProcess> {
    let page = sysconf(SysconfVar::PAGE_SIZE).ok().flatten().and_then(|size| size.try_into().ok());
    let surroundings = Surroundings {
        users: users(&fs::read_to_string("/etc/passwd").unwrap_or_default()),
        ports: ports::listening(folder),
        page: page.unwrap_or(4096),
        booted_at: booted_at(&fs::read_to_string(folder.join("stat")).unwrap_or_default()),
    };
    let mut processes: Vec<_> = numbers(folder)
        .take(MOST)
        // One that ended meanwhile is none.
        .filter_map(|pid| process(&folder.join(pid.to_string()), pid, &surroundings))
        .collect();
    processes.sort_unstable_by_key(|process| process.pid);
    processes
}

/// The numbers of all processes.
pub fn numbers(folder: &Path) -> impl Iterator<Item = u32> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn process(folder: &Path, pid: u32, surroundings: &Surroundings) -> Option<SystemProcess> {
    let uid = fs::metadata(folder).ok()?.uid();
    let line = Line::parse(&String::from_utf8_lossy(&fs::read(folder.join("stat")).ok()?))?;
    let started = i64::try_from(line.started).ok().zip(surroundings.booted_at);
    let started_at = started.and_then(|(ticks, boot)| {
        let milliseconds = ticks.checked_mul(1_000)? / i64::try_from(TICKS).ok()?;
        Timestamp::from_millisecond(boot.checked_mul(1_000)?.checked_add(milliseconds)?).ok()
    });
    let mut ports: Vec<_> =
        ports::sockets(folder).filter_map(|number| surroundings.ports.get(&number).copied()).collect();
    ports.sort_unstable();
    ports.dedup();
    Some(SystemProcess {
        pid,
        parent: line.parent,
        user: surroundings.users.get(&uid).cloned().unwrap_or_else(|| uid.to_string()),
        state: line.state,
        command: command(folder).unwrap_or_else(|| format!("[{}]", line.name)),
        resident_bytes: line.pages.saturating_mul(surroundings.page),
        cpu_ms: line.ticks.saturating_mul(1_000 / TICKS),
        started_at,
        supervised: None,
        ports,
    })
}

/// The command line; kernel threads and ended processes have none.
fn command(folder: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    File::open(folder.join("cmdline")).ok()?.take(COMMAND).read_to_end(&mut bytes).ok()?;
    let line = String::from_utf8_lossy(&bytes).replace('\0', " ");
    let line = line.trim_end();
    (!line.is_empty()).then(|| line.to_owned())
}

impl Line {
    /// The name stands in brackets, and may have any signs in it.
    pub fn parse(text: &str) -> Option<Self> {
        let (before, after) = text.rsplit_once(')')?;
        let (_, name) = before.split_once('(')?;
        let fields: Vec<_> = after.split_whitespace().collect();
        let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
        Some(Self {
            name: name.to_owned(),
            state: (*fields.first()?).to_owned(),
            parent: number(1)?.try_into().ok()?,
            ticks: number(11)?.saturating_add(number(12)?),
            started: number(19)?,
            pages: number(21)?,
        })
    }
}

fn users(text: &str) -> HashMap<u32, String> {
    let user = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        Some((fields.nth(1)?.parse().ok()?, name.to_owned()))
    };
    text.lines().filter_map(user).collect()
}

fn booted_at(text: &str) -> Option<i64> {
    text.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_may_look_like_the_rest() {
        let text =
            "7 (a) R (b) S 1 7 7 0 -1 4194560 1 2 3 4 150 50 0 0 20 0 1 0 12345 1000 25 18446744073709551615";
        let expected = Line {
            name: "a) R (b".to_owned(),
            state: "S".to_owned(),
            parent: 1,
            ticks: 200,
            started: 12_345,
            pages: 25,
        };
        assert_eq!(Line::parse(text), Some(expected));
    }

    #[test]
    fn users_have_names() {
        let users = users("root:x:0:0::/root:/bin/sh\nbroken\ndev:x:1000:1000::/home/dev:/bin/sh\n");
        assert_eq!(users.len(), 2);
        assert_eq!(users[&1000], "dev");
    }

    proptest! {
        #[test]
        fn any_text_can_be_read(text in ".{0,200}") {
            Line::parse(&text);
        }
    }
}
