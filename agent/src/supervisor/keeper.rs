//! Keeps one process as it is wanted: carries out what [`super::machine`] decides, and tells it
//! what happens.

use std::{collections::VecDeque, future::pending, sync::Arc, time::Duration};

use berth_link::wire::process::{Exit, ProcessPhase, ProcessSpec, ProcessState};
use jiff::Timestamp;
use tokio::{
    sync::{mpsc, oneshot},
    task::spawn_blocking,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    Settings,
    board::Board,
    files::Groups,
    machine::{Action, Check, End, Event, Machine},
    output::{News, Output},
    probe,
    run::Run,
};

/// Time between two looks at a process that starts, at least and at most.
const WHILE_STARTING: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(1));
/// Least time between two looks.
const LEAST_INTERVAL: Duration = Duration::from_millis(250);

/// What a keeper is told.
#[derive(Debug)]
pub enum Message {
    /// This is wanted now. Answered when it is under way.
    Want(Box<ProcessSpec>, oneshot::Sender<()>),
    /// The process is wanted no more.
    Forget,
    /// Restart it. Answered with whether it is to run at all.
    Restart(oneshot::Sender<bool>),
    /// The supervisor ends: end the process, and leave its log.
    Leave,
}

/// What all keepers share.
#[derive(Clone, Debug)]
pub struct Shared {
    /// The supervisor's settings.
    pub settings: Arc<Settings>,
    /// Where the states are shown.
    pub board: Board,
    /// The record of process groups.
    pub groups: Arc<Groups>,
}

/// Keeps one process.
#[derive(Debug)]
pub struct Keeper {
    shared: Shared,
    machine: Machine,
    output: Output,
    news: News,
    run: Option<Run>,
    wait_until: Option<Instant>,
    next_look: Option<AbortOnDropHandle<Check>>,
    leaves: bool,
}

impl Keeper {
    /// Begins with a process that does not run.
    pub fn new(shared: Shared, spec: ProcessSpec, output: Output, news: News) -> Self {
        Self {
            shared,
            machine: Machine::new(spec),
            output,
            news,
            run: None,
            wait_until: None,
            next_look: None,
            leaves: false,
        }
    }

    /// Keeps it until it is forgotten.
    pub async fn keep(mut self, mut inbox: mpsc::UnboundedReceiver<Message>) {
        loop {
            let mut answer = None;
            let event = tokio::select! {
                message = inbox.recv(), if !self.leaves => match message {
                    Some(Message::Want(spec, done)) => {
                        answer = Some(done);
                        self.wanted(spec)
                    }
                    Some(Message::Restart(answer)) => {
                        let _ = answer.send(self.machine.spec().run);
                        Event::RestartAsked
                    }
                    Some(Message::Forget) => Event::Unwanted,
                    Some(Message::Leave) | None => {
                        self.leaves = true;
                        Event::Unwanted
                    }
                },
                exit = over(&mut self.run) => {
                    // It may have said why.
                    if let Ok(line) = self.news.fatal.try_recv() {
                        self.take(Event::FatalOutput { line }).await;
                    }
                    self.ended(exit).await
                }
                Some(line) = self.news.fatal.recv() => Event::FatalOutput { line },
                Ok(()) = self.news.errors.changed() => {
                    self.show();
                    continue;
                }
                () = reached(self.wait_until) => {
                    self.wait_until = None;
                    Event::WaitOver
                }
                check = looked(&mut self.next_look) => {
                    self.next_look = None;
                    Event::Checked(check)
                }
            };
            if self.take(event).await {
                // Who wants it again meanwhile gets no answer, and turns to a new keeper.
                return self.go().await;
            }
            self.look_again();
            self.show();
            if let Some(done) = answer {
                let _ = done.send(());
            }
        }
    }

    fn wanted(&mut self, spec: Box<ProcessSpec>) -> Event {
        if spec.health != self.machine.spec().health {
            self.next_look = None;
        }
        self.output.log().limit(spec.logs);
        self.output.look_for(&spec.errors);
        Event::Wanted(spec)
    }

    async fn ended(&mut self, exit: Exit) -> Event {
        let ran_for = self.run.take().map(|run| run.age()).unwrap_or_default();
        self.record();
        Event::Ended(End {
            exit,
            ran_for,
            port_is_taken: self.port_is_open().await,
            output: self.output.take_last_words(),
        })
    }

    /// Lets the machine decide, and does what it says. Whether the process is forgotten.
    async fn take(&mut self, event: Event) -> bool {
        let mut events = VecDeque::from([event]);
        let mut forgotten = false;
        while let Some(event) = events.pop_front() {
            for action in self.machine.apply(event, Timestamp::now()) {
                match action {
                    Action::Start => events.push_back(self.start().await),
                    Action::End => self.run.iter().for_each(Run::end),
                    Action::Wait(time) => self.wait_until = Some(Instant::now() + time),
                    Action::Note(text) => self.output.note(text).await,
                    Action::Forget => forgotten = true,
                }
            }
        }
        forgotten
    }

    async fn start(&mut self) -> Event {
        self.wait_until = None;
        self.next_look = None;
        let port_was_taken = self.port_is_open().await;
        drop(self.output.take_last_words());
        drop(self.news.fatal.try_recv());
        match Run::start(self.machine.spec(), &self.shared.settings, &self.output) {
            Ok(run) => {
                let pid = run.leader.pid;
                self.run = Some(run);
                self.record();
                Event::Started { pid, port_was_taken }
            }
            Err(message) => Event::NotStarted { message },
        }
    }

    async fn port_is_open(&self) -> bool {
        match self.machine.spec().port {
            Some(port) => probe::is_open(port).await,
            None => false,
        }
    }

    /// Writes down which process group is there.
    fn record(&self) {
        let leader = self.run.as_ref().map(|run| run.leader);
        if let Err(error) = self.shared.groups.set(&self.machine.spec().id, leader) {
            tracing::warn!("the record of process groups can not be written: {error}");
        }
    }

    /// Sees to it that the next look is under way, where looks are wanted.
    fn look_again(&mut self) {
        let spec = self.machine.spec();
        let (Some(run), Some(port), true) = (&self.run, spec.port, self.machine.wants_checks()) else {
            self.next_look = None;
            return;
        };
        if self.next_look.is_some() {
            return;
        }
        let interval = match self.machine.state().phase {
            ProcessPhase::Starting => spec.health.interval.clamp(WHILE_STARTING.0, WHILE_STARTING.1),
            _ => spec.health.interval.max(LEAST_INTERVAL),
        };
        let (health, age) = (spec.health.clone(), run.age());
        self.next_look = Some(AbortOnDropHandle::new(tokio::spawn(async move {
            let began = Instant::now();
            sleep(interval).await;
            let look = probe::look(port, &health).await;
            Check { port_open: look.open, failure: look.failure, age: age + began.elapsed() }
        })));
    }

    fn show(&self) {
        self.shared.board.show(self.state());
    }

    fn state(&self) -> ProcessState {
        let (error_count, last_error) = self.output.error_summary();
        ProcessState { error_count, last_error, ..self.machine.state().clone() }
    }

    /// Leaves nothing behind of a process that is forgotten.
    async fn go(self) {
        self.shared.board.forget(&self.machine.spec().id);
        if !self.leaves {
            self.output.drain(Vec::new()).await;
            let log = self.output.log().clone();
            drop(spawn_blocking(move || log.remove()).await);
        }
    }
}

async fn over(run: &mut Option<Run>) -> Exit {
    match run {
        Some(run) => run.over().await,
        None => pending().await,
    }
}

async fn reached(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}

async fn looked(look: &mut Option<AbortOnDropHandle<Check>>) -> Check {
    match look {
        Some(look) => match look.await {
            Ok(check) => check,
            Err(_) => pending().await,
        },
        None => pending().await,
    }
}
