//! The agent of a workspace, as its passes see it: how long it has been without a link, and why.

use std::time::{Duration, Instant};

use secrecy::SecretString;
use sha2::{Digest, Sha256};

use crate::{
    api::condition,
    backend::{AgentBinary, AgentProgram, BodyId, Incarnation},
    controller::agents::{Agent, Agents},
    link::token::{Bearer, Epoch, TokenKeys},
    provision::{AgentSettings, AgentSetup, AgentStatus},
};

use super::{phase::Step, problem::Problem};

/// How agents are delivered, the same for all workspaces.
#[derive(Clone)]
pub struct Delivery {
    /// The program.
    pub binary: AgentBinary,
    /// Makes the tokens.
    pub keys: TokenKeys,
    /// Addresses of the gateway.
    pub gateways: Vec<String>,
    /// Certificate authorities to trust for the gateway, in PEM.
    pub certificate_authorities: Option<String>,
    /// From the start of an agent to its link.
    pub connect_timeout: Duration,
    /// How long a link may be lost before that counts.
    pub grace: Duration,
}

impl Delivery {
    /// Tells one state of program, settings and keys from another: a container that was set up
    /// with another one is set up again.
    pub fn version(&self) -> String {
        let mut digest = Sha256::new();
        for part in [self.binary.digest.as_str(), self.keys.current()] {
            digest.update(part);
            digest.update([0]);
        }
        for part in self.gateways.iter().chain(&self.certificate_authorities) {
            digest.update(part);
            digest.update([0]);
        }
        hex::encode(&digest.finalize()[..6])
    }

    /// What the agent of a body is told.
    pub fn setup(
        &self,
        id: BodyId,
        incarnation: Incarnation,
        user: &str,
        program: AgentProgram,
    ) -> Option<AgentSetup> {
        let update = match program {
            AgentProgram::Present => None,
            AgentProgram::Update(path) => Some(path),
            AgentProgram::Missing => return None,
        };
        let token: SecretString = self.keys.mint(Bearer { id, epoch: Epoch(incarnation.0) })?;
        let settings = AgentSettings {
            gateways: self.gateways.clone(),
            user: user.to_owned(),
            certificate_authorities: self.certificate_authorities.clone(),
            proxy: None,
            update,
        };
        Some(AgentSetup { settings, token })
    }
}

/// Whether a workspace's agent can be reached.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Sight {
    /// The workspace is to have none.
    NotUsed,
    /// A gateway has a link to it.
    Linked,
    /// None has, and within the time that this may take.
    Awaited,
    /// None has, for too long.
    Overdue,
}

/// The agent that a workspace is to have, and how it is seen.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Expected {
    /// What it is set up with; absent where there is to be none.
    pub version: Option<String>,
    /// Whether it can be reached.
    pub sight: Sight,
}

impl Expected {
    /// No agent.
    pub const NONE: Self = Self { version: None, sight: Sight::NotUsed };
}

/// How an agent is seen. `settled` says whether the workspace was well before: then its agent
/// gets the time of grace to come back, rather than the time to connect.
pub fn sight(
    delivery: Option<&Delivery>,
    agent: &Agent,
    agents: &Agents,
    settled: bool,
    now: Instant,
) -> Sight {
    let Some(delivery) = delivery else { return Sight::NotUsed };
    if agent.is_linked() {
        return Sight::Linked;
    }
    let since = agent.unlinked_since().unwrap_or(agents.began);
    let limit = if settled { delivery.grace } else { delivery.connect_timeout };
    if now.duration_since(since) < limit { Sight::Awaited } else { Sight::Overdue }
}

/// What a look at an agent without a link means.
pub fn diagnosis(status: AgentStatus, sight: Sight) -> Result<(Step, String), (Step, Problem)> {
    let overdue = sight == Sight::Overdue;
    let problem = |reason, message: String| Problem::transient(condition::AGENT_CONNECTED, reason, message);
    match status {
        AgentStatus::NotExecutable(line) => Err((
            Step::StartingAgent,
            problem("AgentNotExecutable", format!("the agent can not be run: {line}"))
                .hint("the image must be of Linux for this host's kind of processor"),
        )),
        AgentStatus::Starting if overdue => Err((
            Step::StartingAgent,
            problem("AgentNotRunning", "the agent was started and says nothing".to_owned())
                .hint("look at the container's log on its host, as with docker logs"),
        )),
        AgentStatus::Starting => Ok((Step::StartingAgent, "waiting for the agent to run".to_owned())),
        AgentStatus::Link(link) => {
            let message = match &link.refusal {
                Some(refusal) => refusal.message.clone(),
                None => "no gateway has told of its link yet".to_owned(),
            };
            let message = crate::provision::redact::presentable(&message);
            if !overdue {
                return Ok((Step::Connecting, message));
            }
            let code = link.refusal.as_ref().map(|refusal| refusal.code.as_str());
            Err((Step::Connecting, refused(code.filter(|_| !link.connected), message)))
        }
    }
}

fn refused(code: Option<&str>, message: String) -> Problem {
    let problem = |reason, hint: &str| {
        Problem::transient(condition::AGENT_CONNECTED, reason, message.clone()).hint(hint)
    };
    match code {
        Some("GatewayUnreachable") => problem(
            "GatewayUnreachable",
            "the address in gateway.agentURLs must be reachable from inside the workspace's network",
        ),
        Some("TlsFailed") => problem(
            "GatewayCertificateInvalid",
            "the gateway's certificate must name its address and be of an authority in gateway.agentCaFile or in the image",
        ),
        Some("TokenRefused") => {
            problem("AgentTokenRefused", "the gateway at this address may belong to another installation")
        }
        Some(_) => problem("GatewayFailed", "look at the gateway's log"),
        None => problem("AgentNotConnected", "look at the gateway's log"),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::provision::{LinkStatus, agent::Refusal};

    fn refusal(code: &str) -> AgentStatus {
        let refusal = Refusal { code: code.into(), message: "words".into() };
        AgentStatus::Link(LinkStatus { connected: false, attempts: 3, refusal: Some(refusal) })
    }

    #[rstest]
    #[case(refusal("GatewayUnreachable"), "GatewayUnreachable", Step::Connecting)]
    #[case(refusal("TokenRefused"), "AgentTokenRefused", Step::Connecting)]
    #[case(refusal("TlsFailed"), "GatewayCertificateInvalid", Step::Connecting)]
    #[case(refusal("anything"), "GatewayFailed", Step::Connecting)]
    #[case(AgentStatus::Starting, "AgentNotRunning", Step::StartingAgent)]
    #[case(AgentStatus::NotExecutable("exec format error".into()), "AgentNotExecutable", Step::StartingAgent)]
    fn an_agent_that_is_overdue_has_a_reason(
        #[case] status: AgentStatus,
        #[case] reason: &str,
        #[case] step: Step,
    ) {
        let (at, problem) = diagnosis(status, Sight::Overdue).unwrap_err();
        assert_eq!((problem.reason, at), (reason, step));
        assert!(problem.is_transient());
    }

    #[test]
    fn an_agent_in_time_is_waited_for_with_its_words() {
        let waiting = diagnosis(refusal("GatewayUnreachable"), Sight::Awaited);
        assert_eq!(waiting, Ok((Step::Connecting, "words".to_owned())));
    }
}
