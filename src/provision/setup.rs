//! Makes a started container a workspace: name resolution, user, folders, environment, certificates
//! and git identity, in three commands at most.

use secrecy::{ExposeSecret, SecretString};

use crate::backend::{ExecOutput, ExecRequest, Guest};

use super::{
    AgentSetup, DnsSetup, Environment, GitIdentity, ProvisionError, Proxy, ResolvConf, certificates, user,
};

const FILES: &str = include_str!("scripts/files.sh");

/// What a container is to be set up with.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// Name of the workspace.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// The user that works in it.
    pub user: String,
    /// Environment variables of the workspace.
    pub environment: Environment,
    /// Certificate authorities to trust beside the image's, in PEM.
    pub extra_ca: Option<String>,
    /// The way out.
    pub proxy: Proxy,
    /// Who its commits are by.
    pub git: GitIdentity,
    /// How it resolves names; absent where its host sees to that, and nobody writes it anew.
    pub dns: Option<DnsSetup>,
    /// What its agent is told; absent where it has none.
    pub agent: Option<AgentSetup>,
}

/// What a setup has reached.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Configuration {
    /// What became of its `resolv.conf`; absent where nothing was asked for.
    pub resolv_conf: Option<ResolvConf>,
}

impl Setup {
    /// The variables of the workspace with all that Berth adds.
    fn whole_environment(&self) -> Environment {
        let mut environment = self.environment.clone();
        if self.extra_ca().is_some() {
            certificates::announce(&mut environment);
        }
        self.proxy.announce(&mut environment);
        let constants = [
            ("WORKSPACE_NAME", self.name.as_str()),
            ("WORKSPACE_NAMESPACE", &self.namespace),
            ("WORKSPACE_CONTAINER", "1"),
        ];
        for (name, value) in constants {
            environment.secret.remove(name);
            environment.public.insert(name.to_owned(), value.to_owned());
        }
        environment
    }

    fn extra_ca(&self) -> Option<&str> {
        self.extra_ca.as_deref().filter(|bundle| !bundle.trim().is_empty())
    }

    /// The command that does it all, for root. The files come on its standard input, one after
    /// the other: so neither a list of processes nor the backend ever shows a secret.
    fn command(&self) -> Result<ExecRequest, ProvisionError> {
        user::check_name(&self.user)?;
        let environment = self.whole_environment();
        let profile = environment.profile()?;
        let secrets = environment.secrets()?;
        let extra_ca = certificates::normalized(self.extra_ca().unwrap_or_default());
        let (settings, token) = match &self.agent {
            Some(agent) => (agent.file(&self.proxy)?, format!("{}\n", agent.token.expose_secret())),
            None => Default::default(),
        };
        let files = [profile.as_str(), secrets.expose_secret(), &extra_ca, &settings, &token];
        let lines = files.map(|text| text.matches('\n').count().to_string());

        let script = format!("{}\n{FILES}", user::SCRIPT);
        let arguments = std::iter::once(self.user.clone()).chain(lines);
        let mut command = ExecRequest::script("root", &script).with_args(arguments);
        command.stdin = Some(SecretString::from(files.concat()));
        Ok(command)
    }
}

/// Sets a running container up. Safe to repeat: it is done at every start of the container, since
/// the secrets are in memory only, and whenever the setup changes.
pub async fn configure(guest: &dyn Guest, setup: &Setup) -> Result<Configuration, ProvisionError> {
    let mut reached = Configuration::default();
    if let Some(dns) = &setup.dns {
        let output = run(guest, dns.command()).await?;
        reached.resolv_conf = Some(dns.outcome(&output));
    }
    run(guest, setup.command()?).await?;
    if let Some(command) = setup.git.command(&setup.user) {
        run(guest, command).await?;
    }
    Ok(reached)
}

async fn run(guest: &dyn Guest, command: ExecRequest) -> Result<ExecOutput, ProvisionError> {
    let output = guest.run(command).await?;
    if output.exit_code == 0 { Ok(output) } else { Err(ProvisionError::of_script(&output)) }
}

#[cfg(test)]
#[path = "setup_tests.rs"]
mod tests;
