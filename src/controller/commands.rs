//! Commands on their way to the passes that write them down. Only a pass writes a status, so a
//! command waits here until the next one, and whoever gave it waits for the answer.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::workspace::power::{self, Refusal};
use crate::api::PowerStatus;

/// Commands to one workspace that wait at a time.
const WAITING: usize = 8;

/// A command to a workspace.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Command {
    /// Start, stop or restart its container.
    Power(power::Command),
    /// Forget the SSH host key of its container, and trust the one that it shows next.
    ResetHostKey,
}

impl Command {
    /// Every command.
    pub const ALL: [Self; 4] = [
        Self::Power(power::Command::Start),
        Self::Power(power::Command::Stop),
        Self::Power(power::Command::Restart),
        Self::ResetHostKey,
    ];

    /// The subresource that it is given on.
    pub fn word(self) -> &'static str {
        match self {
            Self::Power(command) => command.word(),
            Self::ResetHostKey => "reset-host-key",
        }
    }
}

/// What was written down for a command.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Answer {
    /// `status.power`.
    Power(PowerStatus),
    /// The host key that counts no more.
    HostKey(ForgottenHostKey),
}

/// The answer to [`Command::ResetHostKey`].
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ForgottenHostKey {
    /// The key, in OpenSSH's format; null where none was known.
    pub forgotten_host_key: Option<String>,
}

/// What a command comes to.
pub type Recorded = Result<Answer, Refusal>;

/// A command, and who waits for its answer.
#[derive(Debug)]
pub struct Order {
    /// The command.
    pub command: Command,
    /// Who gave it.
    pub by: String,
    /// Takes the answer; one that is dropped says that there will be none.
    pub answer: oneshot::Sender<Recorded>,
}

/// The commands that wait, by uid of the Workspace.
#[derive(Debug, Default)]
pub struct Commands(Mutex<HashMap<String, Vec<Order>>>);

impl Commands {
    /// Gives a command. The workspace's next pass takes it, which has yet to be asked for.
    pub fn give(&self, uid: &str, command: Command, by: &str) -> oneshot::Receiver<Recorded> {
        let (answer, receiver) = oneshot::channel();
        let mut waiting = self.lock();
        let orders = waiting.entry(uid.to_owned()).or_default();
        // Nobody waits any more for those whose time was over.
        orders.retain(|order| !order.answer.is_closed());
        if orders.len() < WAITING {
            orders.push(Order { command, by: by.to_owned(), answer });
        } else {
            let _ = answer.send(Err(Refusal::TooMany));
        }
        receiver
    }

    /// Takes the commands to a workspace, in the order in which they were given. What nobody waits
    /// for any more is not among them: it was answered that nothing came of it.
    pub fn take(&self, uid: &str) -> Vec<Order> {
        let mut orders = self.lock().remove(uid).unwrap_or_default();
        orders.retain(|order| !order.answer.is_closed());
        orders
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Vec<Order>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_taken_once_and_in_order() {
        let commands = Commands::default();
        let _first = commands.give("a", Command::Power(power::Command::Stop), "ada");
        let _second = commands.give("a", Command::Power(power::Command::Start), "eve");
        let _other = commands.give("b", Command::Power(power::Command::Restart), "eve");
        let taken: Vec<_> = commands.take("a").into_iter().map(|order| order.command).collect();
        assert_eq!(taken, [Command::Power(power::Command::Stop), Command::Power(power::Command::Start)]);
        assert!(commands.take("a").is_empty());
    }

    #[test]
    fn a_command_that_nobody_waits_for_is_dropped() {
        let commands = Commands::default();
        drop(commands.give("a", Command::Power(power::Command::Stop), "ada"));
        assert!(commands.take("a").is_empty());
    }

    #[tokio::test]
    async fn no_more_wait_than_that() {
        let commands = Commands::default();
        let _waiting: Vec<_> =
            (0..WAITING).map(|_| commands.give("a", Command::Power(power::Command::Stop), "ada")).collect();
        assert_eq!(
            commands.give("a", Command::Power(power::Command::Stop), "ada").await.unwrap(),
            Err(Refusal::TooMany)
        );
        assert_eq!(commands.take("a").len(), WAITING);
    }
}
