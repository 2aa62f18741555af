//! The way into workspaces: the aggregated API behind kube-apiserver, and the public address with
//! agents' links, previews and the terminal page.
//!
//! A gateway holds no credentials of a backend, writes no custom resource and reads no Secret of
//! a user's. What it knows of workspaces it has from watches; what it does in one it asks of the
//! agent there, through [`access::Agents`].

use std::sync::Arc;

use anyhow::Context;
use async_trait::async_trait;
use jiff::Timestamp;
use kube::Client;
use secrecy::ExposeSecret;
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;

use crate::{
    config::{Config, GatewayConfig},
    controller::agents::Wanted,
    internal::{
        ask::{LeaderAddress, ThroughLeader},
        identity::Shown,
        messages::Down,
        peers::Everywhere,
    },
    link::{accept::Acceptor, hub::Hub, keys::Keys, push},
    listener,
    metrics::Metrics,
};

pub mod access;
pub mod aggregated;
pub mod api;
pub mod directory;
pub mod objects;
pub mod previews;
pub mod public;
pub mod terminal;
pub mod tickets;

use api::{
    browser::Browsers,
    identity::Identity,
    operation::{Operation, Resource},
    problem::Reason,
    review::{Access, ClusterReviews, Reviewer},
};
use directory::Directory;
use previews::{
    gate::{TicketError, TicketHolder},
    preview::Preview,
};
use terminal::TerminalPage;
use tickets::{Sessions, Tickets};

/// A running gateway, as the rest of the process holds it.
#[derive(Clone)]
pub struct Gateway {
    /// The links that it holds.
    pub hub: Arc<Hub>,
    /// The agents, whichever replica holds their links.
    pub agents: Arc<Everywhere>,
    /// What the leader wants of the agents.
    pub wanted: watch::Sender<Wanted>,
}

impl Gateway {
    /// Takes in what the leader says.
    pub fn take(&self, message: Down) {
        match message {
            Down::Processes { id, desired } => self.wanted.send_modify(|wanted| match desired {
                Some(desired) => {
                    wanted.processes.insert(id, Arc::new(desired));
                }
                None => {
                    wanted.processes.remove(&id);
                }
            }),
            Down::Password { host, hash } => self.wanted.send_modify(|wanted| match hash {
                Some(hash) => {
                    wanted.passwords.insert(host, hash);
                }
                None => {
                    wanted.passwords.remove(&host);
                }
            }),
            Down::Held { id, address } => self.agents.note(id, address),
        }
    }
}

/// What a gateway is made from.
pub struct Parts<'a> {
    /// Talks to the API server.
    pub client: &'a Client,
    /// The configuration, and its section about the gateway.
    pub config: &'a Config,
    /// That section.
    pub settings: &'a GatewayConfig,
    /// The keys of the installation.
    pub keys: &'a Keys,
    /// The links of this replica.
    pub hub: Arc<Hub>,
    /// How this replica shows itself to others.
    pub shown: &'a Shown,
    /// Where the leader is.
    pub leader: LeaderAddress,
    /// Counters.
    pub metrics: &'a Metrics,
}

impl Parts<'_> {
    /// Starts the gateway, which runs until `stop` is cancelled.
    pub async fn start(self, stop: &CancellationToken) -> anyhow::Result<Gateway> {
        let Self { client, config, settings, keys, hub, shown, leader, metrics } = self;
        let tls = settings.tls.as_ref().map(public::tls).transpose()?;
        let listener = TcpListener::bind(settings.listen)
            .await
            .with_context(|| format!("gateway.listen {}", settings.listen))?;
        let address = listener.local_addr()?;
        let agents = Arc::new(Everywhere::new(Arc::clone(&hub), shown.client.clone()));
        let known = Arc::new(objects::Known::default());
        watch_objects(client, config, &known, &hub, stop);
        let wanted = watch::Sender::new(Wanted::default());
        spawn(stop, push::run(Arc::clone(&hub), wanted.subscribe()));

        let reviewer = Reviewer::new(Arc::new(ClusterReviews(client.clone())));
        let controller = Arc::new(ThroughLeader { leader, tls: shown.client.clone() });
        let everywhere: Arc<dyn access::Agents> = agents.clone();
        let api = api::Api::new(
            everywhere,
            Arc::clone(&known) as Arc<dyn api::objects::Objects>,
            reviewer.clone(),
            controller,
            api::Settings::new(&settings.limits, &settings.rates),
        );
        let key = keys.sessions.expose_secret();
        let (tickets, sessions) = (Arc::new(Tickets::new(key)?), Sessions::new(key)?);
        let secure = settings.public_url.scheme() == "https";
        let page = TerminalPage { tickets: Arc::clone(&tickets), sessions, secure };
        let browsers = Browsers { page: page.clone(), public_url: settings.public_url.clone() };
        let api = Arc::new(api.until(stop.clone()).for_browsers(browsers));
        if let Some(aggregated) = &settings.aggregated {
            let router = Arc::clone(&api).router();
            aggregated::start(client, aggregated, shown.identity.clone(), router, stop).await?;
        }
        let preview_metrics = Arc::new(previews::metrics::PreviewMetrics::register(metrics.registry())?);
        let previews = config.preview.domain.as_deref().map(|domain| {
            let directory = Directory::new(Arc::clone(&known), wanted.subscribe(), domain);
            let surroundings = previews::Surroundings {
                directory: Arc::new(directory),
                agents: agents.clone(),
                tickets: Arc::new(PreviewTickets {
                    tickets: Arc::clone(&tickets),
                    reviewer: reviewer.clone(),
                }),
                traffic: Arc::clone(&hub) as Arc<dyn previews::preview::Traffic>,
                metrics: Arc::clone(&preview_metrics),
            };
            let usual = previews::settings::PreviewSettings::new(domain, keys.sessions.clone());
            let settings = usual.configured(&settings.limits, &settings.rates, &settings.trusted_proxies);
            Arc::new(previews::Previews::new(surroundings, settings))
        });
        let acceptor = Acceptor { keys: keys.tokens.clone(), owners: known, hub: Arc::clone(&hub) };
        let routes = public::routes(Arc::new(acceptor)).merge(api.public_router()).merge(page.router());
        let tls = tls.map(|config| watch::Sender::new(config).subscribe());
        let service = public::service(previews, routes);
        tokio::spawn(listener::serve(listener, tls, service, stop.clone()));
        tracing::info!(%address, "the gateway is served");
        Ok(Gateway { hub, agents, wanted })
    }
}

/// Tickets, as private previews take them.
struct PreviewTickets {
    tickets: Arc<Tickets>,
    reviewer: Reviewer,
}

#[async_trait]
impl previews::gate::Tickets for PreviewTickets {
    async fn redeem(&self, ticket: &str, host: &str) -> Result<TicketHolder, TicketError> {
        let grant = self.tickets.redeem(ticket, Timestamp::now()).ok_or(TicketError::Invalid)?;
        if grant.subresource == tickets::of_preview(host) {
            return Ok(TicketHolder { user: grant.user, uid: grant.user_uid, groups: grant.groups });
        }
        Err(TicketError::Invalid)
    }

    async fn may_see(&self, holder: &TicketHolder, preview: &Preview) -> Result<(), TicketError> {
        let identity = Identity {
            user: holder.user.clone(),
            uid: holder.uid.clone(),
            groups: holder.groups.clone(),
            ..Identity::default()
        };
        // What the ticket was made on the strength of.
        let operation = Operation::Ticket(Resource::DevServers);
        let access = Access {
            verb: operation.verb(),
            resource: Resource::DevServers,
            subresource: operation.subresource(),
            namespace: preview.namespace.clone(),
            name: preview.devserver.clone(),
        };
        self.reviewer.authorize(&identity, &access).await.map_err(|problem| match problem.reason {
            Reason::Forbidden => TicketError::Invalid,
            _ => TicketError::Unavailable(problem.message),
        })
    }
}

/// Keeps what the gateway knows of objects up to date, and ends links whose workspaces went.
fn watch_objects(
    client: &Client,
    config: &Config,
    known: &Arc<objects::Known>,
    hub: &Arc<Hub>,
    stop: &CancellationToken,
) {
    for namespace in watched(config) {
        let (workspaces, devservers, hub) = (Arc::clone(known), Arc::clone(known), Arc::clone(hub));
        let (client, again, other) = (client.clone(), client.clone(), namespace.clone());
        spawn(stop, async move {
            let changed = |key, view, change| {
                if let Some(id) = workspaces.workspace_changed(key, view, change) {
                    hub.close(id);
                }
            };
            objects::follow(client, namespace.as_deref(), changed).await;
        });
        spawn(stop, async move {
            let changed = |key, view, change| devservers.devserver_changed(key, view, change);
            objects::follow(again, other.as_deref(), changed).await;
        });
    }
}

/// The namespaces to watch, one by one; `None` stands for all.
fn watched(config: &Config) -> Vec<Option<String>> {
    if config.watch_namespaces.is_empty() {
        return vec![None];
    }
    config.watch_namespaces.iter().cloned().map(Some).collect()
}

fn spawn(stop: &CancellationToken, work: impl Future<Output = ()> + Send + 'static) {
    let stop = stop.clone();
    tokio::spawn(async move { stop.run_until_cancelled(work).await });
}
