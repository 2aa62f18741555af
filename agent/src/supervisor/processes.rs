//! The set of supervised processes: one keeper for each.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::Context as _;
use berth_link::wire::{
    AgentProblem,
    process::{DesiredProcesses, ProcessId, ProcessSpec, Processes},
};
use futures::future::join_all;
use tokio::{
    sync::{mpsc, oneshot},
    task::{JoinHandle, spawn_blocking},
};

use super::{
    Settings,
    board::Board,
    files::{self, Desired, Groups},
    group::{self, Identity, Stat},
    keeper::{Keeper, Message, Shared},
    log::Log,
    output::Output,
    run::PATIENCE,
    surroundings,
};

/// So many processes at a time.
const MOST: usize = 100;

/// All supervised processes.
#[derive(Debug)]
pub struct ProcessSet {
    shared: Shared,
    desired: Desired,
    /// Held while what is wanted changes.
    change: tokio::sync::Mutex<()>,
    keepers: Mutex<HashMap<ProcessId, Kept>>,
}

#[derive(Debug)]
struct Kept {
    inbox: mpsc::UnboundedSender<Message>,
    output: Output,
    task: JoinHandle<()>,
}

impl ProcessSet {
    /// Ends what a killed predecessor left, and goes on with what was wanted of it.
    pub async fn take_over(settings: Arc<Settings>) -> anyhow::Result<Self> {
        for folder in [&settings.state, &settings.logs] {
            files::make_folder(folder).with_context(|| format!("{} can not be made", folder.display()))?;
        }
        let (groups, left) = Groups::take_over(&settings.state);
        let recorded = left.values().filter(|leader| is_left(**leader)).map(|leader| leader.pid);
        let mark = surroundings::mark(&settings);
        let marked = group::groups_where(|variable| variable.starts_with(mark.as_bytes()));
        group::end_groups(recorded.chain(marked).collect::<BTreeSet<_>>(), PATIENCE).await;
        for id in left.keys() {
            groups.set(id, None)?;
        }
        let desired = Desired::new(&settings.state);
        let set = Self {
            shared: Shared { settings, board: Board::default(), groups: Arc::new(groups) },
            desired,
            change: tokio::sync::Mutex::default(),
            keepers: Mutex::default(),
        };
        let earlier = set.desired.read();
        if let Err(problem) = set.apply(earlier).await {
            tracing::warn!("not all that was wanted goes on: {problem}");
        }
        Ok(set)
    }

    /// How they are.
    pub fn board(&self) -> &Board {
        &self.shared.board
    }

    /// Takes what is wanted: all of it. It is under way when this returns.
    pub async fn want(&self, desired: DesiredProcesses) -> Result<Processes, AgentProblem> {
        check(&desired)?;
        let _change = self.change.lock().await;
        self.desired.write(&desired).map_err(|error| {
            AgentProblem::new("NotStored", format!("what is wanted can not be remembered: {error}"))
        })?;
        self.apply(desired).await?;
        Ok(self.board().now())
    }

    /// Restarts a process.
    pub async fn restart(&self, id: &str) -> Result<(), AgentProblem> {
        let inbox = self.lock().get(id).map(|kept| kept.inbox.clone()).ok_or_else(|| not_found(id))?;
        let (answer, answered) = oneshot::channel();
        inbox.send(Message::Restart(answer)).map_err(|_| not_found(id))?;
        if answered.await.map_err(|_| not_found(id))? {
            Ok(())
        } else {
            Err(AgentProblem::new(
                "ProcessStopped",
                format!("{id} is not to run; there is nothing to restart"),
            ))
        }
    }

    /// The output of a process.
    pub fn output(&self, id: &str) -> Result<Output, AgentProblem> {
        let keepers = self.lock();
        let kept = keepers.get(id).filter(|kept| !kept.inbox.is_closed());
        kept.map(|kept| kept.output.clone()).ok_or_else(|| not_found(id))
    }

    /// Ends all processes. What is wanted stays remembered.
    pub async fn leave(&self) {
        let _change = self.change.lock().await;
        let kept: Vec<_> = self.lock().drain().map(|(_, kept)| kept).collect();
        join_all(kept.into_iter().map(|kept| {
            drop(kept.inbox.send(Message::Leave));
            kept.task
        }))
        .await;
    }

    async fn apply(&self, desired: DesiredProcesses) -> Result<(), AgentProblem> {
        let wanted: BTreeSet<_> = desired.processes.iter().map(|spec| spec.id.clone()).collect();
        self.lock().retain(|id, kept| {
            if !wanted.contains(id) {
                drop(kept.inbox.send(Message::Forget));
            }
            !kept.inbox.is_closed()
        });
        let results = join_all(desired.processes.into_iter().map(|spec| self.keep(spec))).await;
        results.into_iter().collect()
    }

    async fn keep(&self, spec: ProcessSpec) -> Result<(), AgentProblem> {
        let known = self.lock().get(&spec.id).map(|kept| kept.inbox.clone());
        if let Some(inbox) = known
            && tell(&inbox, spec.clone()).await
        {
            return Ok(());
        }
        let (settings, id, limits) = (self.shared.settings.clone(), spec.id.clone(), spec.logs);
        let log = spawn_blocking(move || Log::open(&settings.logs, &id, limits))
            .await
            .unwrap_or_else(|error| Err(error.into()))
            .map_err(|error| AgentProblem::new("NotStored", format!("no log can be kept: {error}")))?;
        let (output, news) = Output::new(Arc::new(log), &spec.errors);
        let (inbox, messages) = mpsc::unbounded_channel();
        let keeper = Keeper::new(self.shared.clone(), spec.clone(), output.clone(), news);
        let task = tokio::spawn(keeper.keep(messages));
        self.lock().insert(spec.id.clone(), Kept { inbox: inbox.clone(), output, task });
        tell(&inbox, spec).await;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ProcessId, Kept>> {
        self.keepers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells a keeper what is wanted; false where it has gone meanwhile.
async fn tell(inbox: &mpsc::UnboundedSender<Message>, spec: ProcessSpec) -> bool {
    let (done, is_done) = oneshot::channel();
    inbox.send(Message::Want(Box::new(spec), done)).is_ok() && is_done.await.is_ok()
}

/// Whether a group is still the one that was recorded: while its leader is there, or while there is
/// no new process of the leader's number. A number is not given anew while a group has it.
fn is_left(leader: Identity) -> bool {
    leader.is_there() || Stat::read(leader.pid).is_none()
}

fn check(desired: &DesiredProcesses) -> Result<(), AgentProblem> {
    let count = desired.processes.len();
    if count > MOST {
        return Err(AgentProblem::new("Invalid", format!("{count} processes; at most {MOST} are allowed")));
    }
    let mut seen = BTreeSet::new();
    for spec in &desired.processes {
        if !seen.insert(&spec.id) {
            return Err(AgentProblem::new("Invalid", format!("{} is there twice", spec.id)));
        }
        if !spec.workdir.starts_with('/') {
            let message = format!("{}: the folder {:?} is not absolute", spec.id, spec.workdir);
            return Err(AgentProblem::new("Invalid", message));
        }
    }
    Ok(())
}

fn not_found(id: &str) -> AgentProblem {
    AgentProblem::new("ProcessNotFound", format!("there is no process {id}"))
}
