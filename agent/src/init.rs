//! Root's process: starts supervisor and link, and starts them again when they end. It is told of
//! new settings by SIGHUP, at the process that [`config::INIT_PID`] names.
//!
//! As process 1 of a container it also reaps orphans, and passes on the request to stop to
//! everything. In a container with an init of its own it is a service: others' processes are none
//! of its business, and when it is stopped the supervisor goes on, with all that people have
//! running. The next one leaves that supervisor in place.
//!
//! It has one thread and waits in one place, for a signal or for the time of the next start.

use std::{
    collections::HashSet,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::Context;
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{SigSet, Signal, kill},
        signalfd::{SfdFlags, SignalFd},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};
use std::os::fd::AsFd;

use crate::{
    config::{self, Settings, TOKEN},
    last_words::LastWords,
    link::LinkStatus,
    update::GivenUp,
};

/// Wait before a process that ended is started again; it doubles with each end in a row.
const FIRST_DELAY: Duration = Duration::from_millis(200);
/// The longest such wait.
const LONGEST_DELAY: Duration = Duration::from_secs(10);
/// A run of this length forgets earlier ends.
const GOOD_RUN: Duration = Duration::from_secs(30);
/// So long an update may take until it has a link; then the version before it is run again.
const UPDATE_PATIENCE: Duration = Duration::from_secs(45);
/// So many ends of an update are enough to give it up.
const UPDATE_ENDS: u32 = 3;
/// So long a link may take to end when a service is stopped.
const LEAVING: Duration = Duration::from_secs(5);
/// Exit code of a link whose workspace is gone for good.
pub const EXIT_GONE: i32 = 10;

/// One of the two processes that are to be there.
struct Role {
    name: &'static str,
    pid: Option<Pid>,
    started: Instant,
    ends: u32,
    next: Instant,
    /// It said that it is not to be started again.
    finished: bool,
    /// How it last ended.
    last_end: String,
    /// What it says on its error output, where that is listened to.
    words: Option<LastWords>,
}

impl Role {
    fn new(name: &'static str) -> Self {
        let now = Instant::now();
        Self {
            name,
            pid: None,
            started: now,
            ends: 0,
            next: now,
            finished: false,
            last_end: String::new(),
            words: None,
        }
    }

    fn is_due(&self, now: Instant) -> bool {
        self.pid.is_none() && !self.finished && now >= self.next
    }

    /// Starts it. Its error output is ours, or it is listened to on its way there.
    fn start(&mut self, binary: &str, listen: bool) {
        self.started = Instant::now();
        let mut command = Command::new(binary);
        command.arg(self.name);
        if listen {
            command.stderr(Stdio::piped());
        }
        match command.spawn() {
            Ok(mut child) => {
                self.pid = i32::try_from(child.id()).ok().map(Pid::from_raw);
                self.words = child.stderr.take().and_then(|pipe| LastWords::of(pipe).ok());
            }
            Err(error) => {
                eprintln!("berth-agent: {binary} {}: {error}", self.name);
                self.words = None;
                self.ended(error.to_string());
            }
        }
    }

    fn ended(&mut self, how: String) {
        self.last_end = how;
        self.pid = None;
        self.ends = if self.started.elapsed() >= GOOD_RUN { 1 } else { self.ends.saturating_add(1) };
        let delay = FIRST_DELAY.saturating_mul(1 << (self.ends - 1).min(10)).min(LONGEST_DELAY);
        self.next = Instant::now() + delay;
    }

    /// Looks again later, since it runs already and is not ours.
    fn put_off(&mut self) {
        self.next = Instant::now() + LONGEST_DELAY;
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid {
            let _ = kill(pid, signal);
        }
    }
}

/// The init while it runs.
struct Init {
    own: String,
    place: Place,
    settings: Option<Settings>,
    /// The token that the link was last started for.
    token: Vec<u8>,
    supervisor: Role,
    link: Role,
    /// When the update in the settings was begun with; `None` when there is none, or it was given
    /// up.
    update: Option<Update>,
    given_up: HashSet<String>,
}

/// What the init is in its container.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Place {
    /// Process 1.
    First,
    /// A service of another init.
    Service,
}

impl Place {
    fn of(pid: u32) -> Self {
        if pid == 1 { Self::First } else { Self::Service }
    }
}

struct Update {
    binary: String,
    since: Instant,
    proved: bool,
}

/// Runs until SIGTERM or SIGINT; as process 1, until everything else in the container has ended then.
pub fn run() -> anyhow::Result<()> {
    let mut watched = SigSet::empty();
    for signal in [Signal::SIGCHLD, Signal::SIGHUP, Signal::SIGTERM, Signal::SIGINT] {
        watched.add(signal);
    }
    watched.thread_block()?;
    let signals = SignalFd::with_flags(&watched, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
    let own = std::env::current_exe().context("path of this program")?.to_string_lossy().into_owned();
    let mut init = Init {
        own,
        place: Place::of(std::process::id()),
        settings: None,
        token: Vec::new(),
        supervisor: Role::new("supervise"),
        link: Role::new("link"),
        update: None,
        given_up: HashSet::new(),
    };
    // From now on a signal is not missed.
    if let Err(error) = announce() {
        eprintln!("berth-agent: {error:#}");
    }
    init.reload();
    loop {
        init.start_what_is_due();
        let timeout = PollTimeout::try_from(init.patience()).unwrap_or(PollTimeout::MAX);
        let words = init.link.words.as_ref().and_then(LastWords::pipe);
        let watched = [Some(signals.as_fd()), words].into_iter().flatten();
        let mut watched: Vec<_> = watched.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        match poll(&mut watched, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error).context("poll"),
        }
        while let Some(signal) = signals.read_signal()? {
            match i32::try_from(signal.ssi_signo).ok().and_then(|number| Signal::try_from(number).ok()) {
                Some(Signal::SIGHUP) => init.reload(),
                Some(Signal::SIGTERM | Signal::SIGINT) => {
                    return match init.place {
                        Place::First => stop(&signals),
                        Place::Service => init.leave(&signals),
                    };
                }
                _ => {}
            }
        }
        init.reap();
        if let Some(words) = &mut init.link.words {
            words.listen();
        }
    }
}

/// Says which process is told of new settings.
fn announce() -> anyhow::Result<()> {
    if let Some((folder, _)) = config::INIT_PID.rsplit_once('/') {
        std::fs::create_dir_all(folder).context(folder)?;
    }
    config::replace(config::INIT_PID, format!("{}\n", std::process::id()).as_bytes(), 0o644)
}

impl Init {
    fn reload(&mut self) {
        let settings = match Settings::load() {
            Ok(settings) => settings,
            Err(error) => {
                eprintln!("berth-agent: {error:#}");
                return;
            }
        };
        let token = std::fs::read(TOKEN).unwrap_or_default();
        // What goes over the link need not be cut off where nothing is new.
        if self.link.pid.is_some() && settings == self.settings && token == self.token {
            return;
        }
        self.token = token;
        let update = settings.as_ref().and_then(|settings| settings.update.clone());
        self.update = update.filter(|binary| !self.given_up.contains(binary)).map(|binary| Update {
            binary,
            since: Instant::now(),
            proved: false,
        });
        if self.update.is_some() || settings.as_ref().is_none_or(|settings| settings.update.is_none()) {
            GivenUp::forget();
        }
        self.settings = settings;
        // The link reads settings and token when it starts.
        self.link.finished = false;
        self.link.ends = 0;
        self.link.next = Instant::now();
        self.link.signal(Signal::SIGTERM);
    }

    fn start_what_is_due(&mut self) {
        if self.settings.is_none() {
            return;
        }
        let now = Instant::now();
        self.give_up_update(now);
        if self.supervisor.is_due(now) {
            if self.place == Place::Service && has_supervisor() {
                self.supervisor.put_off();
            } else {
                self.supervisor.start(&self.own, false);
            }
        }
        if self.link.is_due(now) {
            let binary = self.update.as_ref().map_or(&self.own, |update| &update.binary);
            self.link.start(binary, self.update.is_some());
        }
    }

    /// An update proves itself by a link of its own. Where it does not, the version before it is
    /// run again.
    fn give_up_update(&mut self, now: Instant) {
        let Some(update) = &mut self.update else { return };
        if update.proved {
            return;
        }
        let status = LinkStatus::load().filter(|status| status.binary == update.binary);
        update.proved = status.as_ref().is_some_and(|status| status.connected);
        let too_long = now.duration_since(update.since) > UPDATE_PATIENCE;
        if !update.proved && (too_long || self.link.ends >= UPDATE_ENDS) {
            let what = match self.link.pid {
                Some(_) => format!("it had no link within {} s", UPDATE_PATIENCE.as_secs()),
                None => format!("it does not go on running ({})", self.link.last_end),
            };
            let refusal = status.and_then(|status| status.refusal).map(|refusal| refusal.message);
            let line = refusal.or_else(|| self.link.words.as_ref()?.last_line());
            let message = line.map_or_else(|| what.clone(), |line| format!("{what}: {line}"));
            eprintln!("berth-agent: {} is given up for {}: {message}", update.binary, self.own);
            GivenUp { program: update.binary.clone(), message }.store();
            self.given_up.insert(update.binary.clone());
            self.update = None;
            self.link.ends = 0;
            self.link.next = now;
            self.link.signal(Signal::SIGKILL);
        }
    }

    /// Until what is to be done next.
    fn patience(&self) -> Duration {
        let now = Instant::now();
        let starts = [&self.supervisor, &self.link]
            .into_iter()
            .filter(|role| self.settings.is_some() && role.pid.is_none() && !role.finished)
            .map(|role| role.next.saturating_duration_since(now));
        let unproved = self.update.as_ref().is_some_and(|update| !update.proved);
        starts.chain(unproved.then_some(Duration::from_secs(1))).min().unwrap_or(Duration::from_secs(3600))
    }

    /// Ends the link, and leaves everything else as it is.
    fn leave(&mut self, signals: &SignalFd) -> anyhow::Result<()> {
        self.link.signal(Signal::SIGTERM);
        let end = Instant::now() + LEAVING;
        while self.link.pid.is_some() && Instant::now() < end {
            let pause = PollTimeout::try_from(Duration::from_millis(50)).unwrap_or(PollTimeout::ZERO);
            let _ = poll(&mut [PollFd::new(signals.as_fd(), PollFlags::POLLIN)], pause);
            while signals.read_signal()?.is_some() {}
            self.reap();
        }
        self.link.signal(Signal::SIGKILL);
        let _ = std::fs::remove_file(config::INIT_PID);
        Ok(())
    }

    fn reap(&mut self) {
        while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            let Some(pid) = status.pid() else { return };
            if self.supervisor.pid == Some(pid) {
                self.supervisor.ended(words(status));
            } else if self.link.pid == Some(pid) {
                self.link.finished = matches!(status, WaitStatus::Exited(_, EXIT_GONE));
                self.link.ended(words(status));
            }
        }
    }
}

/// How a process ended, in words.
fn words(status: WaitStatus) -> String {
    match status {
        WaitStatus::Exited(_, code) => format!("exit code {code}"),
        WaitStatus::Signaled(_, signal, _) => signal.to_string(),
        other => format!("{other:?}"),
    }
}

/// Whether a supervisor runs that a predecessor started.
fn has_supervisor() -> bool {
    let Ok(entries) = std::fs::read_dir("/proc") else { return false };
    entries.filter_map(|entry| std::fs::read(entry.ok()?.path().join("cmdline")).ok()).any(is_supervisor)
}

fn is_supervisor(command_line: Vec<u8>) -> bool {
    let mut words = command_line.split(|byte| *byte == 0);
    let is_agent = words.next().is_some_and(|program| program.ends_with(b"/berth-agent"));
    is_agent && words.next() == Some(b"supervise".as_slice())
}

/// Tells everything else to end, and waits for that: also for what is no child of ours, such as a
/// command that came in from outside. Whoever asked for it kills what takes too long.
fn stop(signals: &SignalFd) -> anyhow::Result<()> {
    let everything = Pid::from_raw(-1);
    let _ = kill(everything, Signal::SIGTERM);
    // Shells ignore SIGTERM; a terminal that goes away they do not.
    let _ = kill(everything, Signal::SIGHUP);
    while others() {
        let pause = PollTimeout::try_from(Duration::from_millis(50)).unwrap_or(PollTimeout::ZERO);
        let _ = poll(&mut [PollFd::new(signals.as_fd(), PollFlags::POLLIN)], pause);
        while signals.read_signal()?.is_some() {}
        while waitpid(None, Some(WaitPidFlag::WNOHANG)).is_ok_and(|status| status.pid().is_some()) {}
    }
    Ok(())
}

fn others() -> bool {
    let own = std::process::id();
    let Ok(entries) = std::fs::read_dir("/proc") else { return false };
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok()).any(|pid| pid != own)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(b"/opt/berth/berth-agent\0supervise\0", true)]
    #[case(b"/opt/berth/0123/berth-agent\0supervise\0", true)]
    #[case(b"/opt/berth/berth-agent\0link\0", false)]
    #[case(b"/opt/berth/berth-agent\0", false)]
    #[case(b"grep\0/opt/berth/berth-agent\0supervise\0", false)]
    #[case(b"", false)]
    fn a_supervisor_is_told_by_its_command_line(#[case] line: &[u8], #[case] is_one: bool) {
        assert_eq!(is_supervisor(line.to_vec()), is_one);
    }

    #[test]
    fn only_process_1_minds_everything() {
        assert_eq!([1, 2, 4711].map(Place::of), [Place::First, Place::Service, Place::Service]);
    }
}
