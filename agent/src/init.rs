//! Process 1 of the container, root: starts supervisor and link, starts them again when they end,
//! reaps orphans, and passes on the request to stop.
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
    config::{Settings, TOKEN},
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

    fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid {
            let _ = kill(pid, signal);
        }
    }
}

/// The init while it runs.
struct Init {
    own: String,
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

struct Update {
    binary: String,
    since: Instant,
    proved: bool,
}

/// Runs until SIGTERM or SIGINT, and until everything else in the container has ended then.
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
        settings: None,
        token: Vec::new(),
        supervisor: Role::new("supervise"),
        link: Role::new("link"),
        update: None,
        given_up: HashSet::new(),
    };
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
                Some(Signal::SIGTERM | Signal::SIGINT) => return stop(&signals),
                _ => {}
            }
        }
        init.reap();
        if let Some(words) = &mut init.link.words {
            words.listen();
        }
    }
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
            self.supervisor.start(&self.own, false);
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
