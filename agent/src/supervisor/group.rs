//! Process groups and sessions: who is in one, and how all of it is ended.

use std::{collections::BTreeSet, fs, time::Duration};

use futures::future::join_all;
use nix::{
    errno::Errno,
    sys::signal::{Signal, kill, killpg},
    unistd::{Pid, getpgrp},
};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

/// Time that what was killed has to be gone. What hangs in the kernel for longer is left to it.
const AFTER_KILL: Duration = Duration::from_secs(5);
const FIRST_LOOK: Duration = Duration::from_millis(5);
const LONGEST_LOOK: Duration = Duration::from_millis(100);

/// One process for as long as the machine runs: numbers are given anew, but not at the same time.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Identity {
    /// Its number.
    pub pid: u32,
    /// When it started, in ticks since the machine booted.
    pub started: u64,
}

impl Identity {
    /// The process that has this number now.
    pub fn of(pid: u32) -> Option<Self> {
        Some(Self { pid, started: Stat::read(pid)?.started })
    }

    /// Whether it is still there.
    pub fn is_there(self) -> bool {
        Self::of(self.pid) == Some(self)
    }
}

/// What `/proc/PID/stat` tells.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Stat {
    /// One letter, such as R, S or Z.
    pub state: char,
    /// Its process group.
    pub group: i32,
    /// Its session.
    pub session: i32,
    /// When it started, in ticks since the machine booted.
    pub started: u64,
}

impl Stat {
    /// Of this process, if there is one.
    pub fn read(pid: u32) -> Option<Self> {
        Self::parse(&String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/stat")).ok()?))
    }

    /// The name, in the second field, may hold anything: it ends at the last parenthesis.
    fn parse(text: &str) -> Option<Self> {
        let mut fields = text.rsplit_once(')')?.1.split_ascii_whitespace();
        Some(Self {
            state: fields.next()?.chars().next()?,
            group: fields.nth(1)?.parse().ok()?,
            session: fields.next()?.parse().ok()?,
            started: fields.nth(15)?.parse().ok()?,
        })
    }

    /// Whether it still does something: what only waits for its parent does not.
    pub fn is_alive(self) -> bool {
        !matches!(self.state, 'Z' | 'X')
    }
}

/// The living processes of which this holds.
pub fn processes(holds: impl Fn(&Stat) -> bool) -> Vec<Identity> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, Stat::read(pid)?)))
        .filter(|(_, stat)| stat.is_alive() && holds(stat))
        .map(|(pid, stat)| Identity { pid, started: stat.started })
        .collect()
}

/// The process groups in which a process was started with an environment like this (`NAME=value`);
/// our own is none of them.
pub fn groups_where(holds: impl Fn(&[u8]) -> bool) -> BTreeSet<u32> {
    let has_it = |pid: u32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(&holds)
    };
    let own = getpgrp().as_raw();
    processes(|stat| stat.group != own)
        .into_iter()
        .filter(|each| has_it(each.pid))
        .filter_map(|each| u32::try_from(Stat::read(each.pid)?.group).ok())
        .collect()
}

/// Asks groups to end, all at the same time, and kills what is left after `patience`.
pub async fn end_groups(leaders: impl IntoIterator<Item = u32>, patience: Duration) {
    join_all(leaders.into_iter().map(|leader| Together::group(leader).end(Signal::SIGTERM, patience))).await;
}

/// Several processes that are ended together.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Together {
    /// A process group, by its leader.
    Group(Pid),
    /// A session, by its leader.
    Session(Pid),
}

impl Together {
    /// The group that this process leads.
    pub fn group(leader: u32) -> Self {
        Self::Group(number(leader))
    }

    /// The session that this process leads.
    pub fn session(leader: u32) -> Self {
        Self::Session(number(leader))
    }

    /// Sends all of them a signal. That there are none is fine.
    pub fn signal(self, signal: Signal) {
        match self {
            // 0 and 1 would mean other groups than one of ours.
            Self::Group(leader) | Self::Session(leader) if leader.as_raw() <= 1 => {}
            Self::Group(leader) => {
                let _ = killpg(leader, signal);
            }
            Self::Session(_) => {
                for member in self.members() {
                    let _ = kill(number(member.pid), signal);
                }
            }
        }
    }

    /// Sends all of them a signal to end. Those that are stopped could not take it.
    pub fn ask(self, signal: Signal) {
        self.signal(signal);
        self.signal(Signal::SIGCONT);
    }

    /// Those of them that are alive.
    pub fn members(self) -> Vec<Identity> {
        match self {
            Self::Group(leader) if killpg(leader, None) == Err(Errno::ESRCH) => Vec::new(),
            Self::Group(leader) => processes(|stat| stat.group == leader.as_raw()),
            Self::Session(leader) => processes(|stat| stat.session == leader.as_raw()),
        }
    }

    /// Waits until none is left, at most this long, and says whether that is so.
    pub async fn gone_within(self, time: Duration) -> bool {
        let deadline = Instant::now() + time;
        let mut pause = FIRST_LOOK;
        while !self.members().is_empty() {
            if Instant::now() >= deadline {
                return false;
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_LOOK);
        }
        true
    }

    /// Asks all of them to end, and kills what is left after `patience`. Says whether anything had
    /// to be killed.
    pub async fn end(self, ask: Signal, patience: Duration) -> bool {
        if self.members().is_empty() {
            return false;
        }
        self.ask(ask);
        if self.gone_within(patience).await {
            return false;
        }
        self.kill().await;
        true
    }

    /// Kills all of them.
    pub async fn kill(self) {
        self.signal(Signal::SIGKILL);
        if !self.gone_within(AFTER_KILL).await {
            tracing::warn!("{self:?} is still there after it was killed");
        }
    }
}

fn number(pid: u32) -> Pid {
    Pid::from_raw(i32::try_from(pid).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Stdio};

    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("7 (bash) S 1 7 6 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 4711 9 9", Some(('S', 7, 6, 4711)))]
    #[case("7 (a) b ) (c) R 1 8 8 0 -1 0 1 2 3 4 5 6 7 8 20 0 1 0 5 9", Some(('R', 8, 8, 5)))]
    #[case("7 (bash) S 1 7", None)]
    #[case("", None)]
    fn stat_is_read_behind_the_name(#[case] text: &str, #[case] expected: Option<(char, i32, i32, u64)>) {
        let stat = Stat::parse(text).map(|stat| (stat.state, stat.group, stat.session, stat.started));
        assert_eq!(stat, expected);
    }

    #[tokio::test]
    async fn nothing_of_a_group_is_left() {
        let script = "trap '' TERM; sleep 1000 & sleep 1000 & echo ready; wait; sleep 1000";
        let mut child =
            Command::new("sh").args(["-c", script]).process_group(0).stdout(Stdio::piped()).spawn().unwrap();
        let mut ready = [0; 5];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut ready).unwrap();
        let group = Together::group(child.id());
        assert_eq!(group.members().len(), 3);
        assert!(group.end(Signal::SIGTERM, Duration::from_millis(50)).await);
        assert_eq!(group.members(), []);
        child.wait().unwrap();
        assert!(!group.end(Signal::SIGTERM, Duration::from_millis(50)).await);
    }
}
