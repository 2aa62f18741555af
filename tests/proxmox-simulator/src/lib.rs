//! A Proxmox VE cluster to test against: its API, with real containers behind it or none.
//!
//! | room | what lives there |
//! |---|---|
//! | [`server`] | connections, requests, and every check before a call does something |
//! | [`access`] | users, tokens, roles, access control lists, tickets |
//! | [`cluster`] | the state, the locks, nodes, storages and pools |
//! | [`lxc`] | containers: configuration, life and the tasks that change them |
//! | [`tasks`] | worker tasks |
//! | [`faults`], [`control`] | what goes wrong on purpose, and who plans it |
//! | [`containers`] | what a container is to the API, and Docker behind it |
//! | [`node_ssh`] | root's shell on a node: `pct` and the configuration files |
//!
//! The README says what is real here and what is only recorded.

pub mod access;
pub mod clock;
pub mod cluster;
pub mod containers;
pub mod control;
pub mod failure;
pub mod faults;
pub mod lxc;
pub mod node_ssh;
pub mod server;
pub mod settings;
pub mod tasks;

use std::{net::SocketAddr, sync::Arc};

use tokio::{net::TcpListener, task::JoinSet};

use crate::{
    clock::Clock,
    cluster::Cluster,
    containers::Containers,
    server::{
        connections::{self, Certificate},
        schema::Api,
    },
    settings::Settings,
};

/// How a simulator is started.
pub struct Options {
    /// The cluster.
    pub settings: Settings,
    /// How long things take.
    pub clock: Clock,
    /// Where the API listens.
    pub listen: SocketAddr,
    /// Where the control listens; on the loopback address, as nobody is asked who they are.
    pub control: SocketAddr,
    /// The names and addresses in the certificate.
    pub names: Vec<String>,
}

/// A running simulator. It ends when it is dropped.
pub struct Simulator {
    /// Where the API listens.
    pub address: SocketAddr,
    /// Where the control listens.
    pub control: SocketAddr,
    /// The certificate of the API.
    pub certificate: Arc<Certificate>,
    /// The cluster.
    pub cluster: Arc<Cluster>,
    _running: JoinSet<()>,
}

impl Simulator {
    /// Starts one.
    ///
    /// # Errors
    ///
    /// That an address can not be listened on, or no certificate can be made.
    pub async fn start(options: Options, containers: Arc<dyn Containers>) -> anyhow::Result<Self> {
        let certificate = Arc::new(Certificate::make(options.names)?);
        let cluster = Cluster::new(options.settings, Api::load()?, options.clock, containers);
        let listener = TcpListener::bind(options.listen).await?;
        let control_listener = TcpListener::bind(options.control).await?;
        let (address, control) = (listener.local_addr()?, control_listener.local_addr()?);
        let mut running = JoinSet::new();
        let (shared, own) = (Arc::clone(&cluster), Arc::clone(&certificate));
        running.spawn(async move {
            if let Err(error) = connections::serve(listener, &own, shared).await {
                tracing::error!(%error, "the API ends");
            }
        });
        let shared = Arc::clone(&cluster);
        running.spawn(async move {
            if let Err(error) = control::serve(control_listener, shared).await {
                tracing::error!(%error, "the control ends");
            }
        });
        running.spawn(Arc::clone(&cluster).keep_ticking());
        Ok(Self { address, control, certificate, cluster, _running: running })
    }
}
