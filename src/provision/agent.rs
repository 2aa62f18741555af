//! The agent in a workspace: what it is told, and what it says of itself.

use std::time::Duration;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::{ProvisionError, ProvisionReason, Proxy};
use crate::backend::{ExecRequest, Guest, agent::PROGRAM};

/// What an agent is told. The names are those of the agent's own settings.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentSettings {
    /// Addresses of the gateway.
    pub gateways: Vec<String>,
    /// The user that works in the workspace.
    pub user: String,
    /// Certificate authorities to trust for the gateway, in PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_authorities: Option<String>,
    /// The proxies between the workspace and the gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy: Option<Proxy>,
    /// A newer program than the one the container was made with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub update: Option<String>,
}

/// Settings and token of an agent.
#[derive(Clone, Debug)]
pub struct AgentSetup {
    /// The settings.
    pub settings: AgentSettings,
    /// Its token.
    pub token: SecretString,
}

impl AgentSetup {
    /// The file with the settings: one line.
    /// Where the workspace's way out is by a proxy, so is the agent's.
    pub(super) fn file(&self, proxy: &Proxy) -> Result<String, ProvisionError> {
        let proxy = Some(proxy.clone()).filter(|proxy| *proxy != Proxy::default());
        let text = serde_json::to_string(&AgentSettings { proxy, ..self.settings.clone() });
        text.map(|text| format!("{text}\n"))
            .map_err(|error| ProvisionError::new(ProvisionReason::SetupFailed, error.to_string()))
    }
}

/// What an agent's link says of itself. It comes from the tenant's side.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct LinkStatus {
    /// Whether it has a connection to a gateway.
    pub connected: bool,
    /// Tries without success.
    #[serde(default)]
    pub attempts: u32,
    /// What kept the last try from success.
    #[serde(default)]
    pub refusal: Option<Refusal>,
}

/// Why an agent has no connection.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
pub struct Refusal {
    /// A stable word.
    pub code: String,
    /// What happened.
    pub message: String,
}

/// How an agent is doing, as seen from inside its container.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum AgentStatus {
    /// The program does not run at all, for this reason.
    NotExecutable(String),
    /// It runs; its link has not said anything yet.
    Starting,
    /// What its link says.
    Link(LinkStatus),
}

/// Asks the agent how it is doing.
pub async fn agent_status(guest: &dyn Guest) -> Result<AgentStatus, ProvisionError> {
    let mut request = ExecRequest::script("root", "");
    request.argv = vec![PROGRAM.to_owned(), "status".to_owned()];
    request.timeout = Duration::from_secs(10);
    request.output_limit = 8 << 10;
    let output = guest.run(request).await?;
    Ok(match output.exit_code {
        0 => serde_json::from_str(&output.stdout).map_or(AgentStatus::Starting, AgentStatus::Link),
        126.. => AgentStatus::NotExecutable(output.last_line().to_owned()),
        _ => AgentStatus::Starting,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(proxy: &Proxy) -> String {
        let settings = AgentSettings {
            gateways: vec!["https://berth.example.com".to_owned()],
            user: "dev".to_owned(),
            certificate_authorities: None,
            proxy: None,
            update: None,
        };
        AgentSetup { settings, token: "token".to_owned().into() }.file(proxy).unwrap()
    }

    #[test]
    fn the_agent_goes_out_as_the_workspace_does() {
        assert_eq!(
            file(&Proxy::default()),
            "{\"gateways\":[\"https://berth.example.com\"],\"user\":\"dev\"}\n"
        );
        let proxy =
            Proxy { https: Some("http://p:3128".into()), no_proxy: Some(".local".into()), http: None };
        let settings: serde_json::Value = serde_json::from_str(&file(&proxy)).unwrap();
        assert_eq!(settings["proxy"], serde_json::json!({"https": "http://p:3128", "noProxy": ".local"}));
    }
}
