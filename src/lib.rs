//! Berth runs development workspaces on Docker and Proxmox VE hosts, declared as Kubernetes
//! custom resources. This is the map of the house.
//!
//! | room | what lives there |
//! |---|---|
//! | [`api`] | the custom resources: types, schema rules, conditions. No I/O |
//! | [`config`] | the operator's configuration file, parsed and validated |
//! | [`controller`] | one folder a kind: gather, validate, plan, execute, status; and lease, sweep, ledger |
//! | [`provision`] | what is done inside a guest, whatever backend it is on: user, environment, git |
//! | [`backend`] | the traits `Backend` and `Guest`, and Docker and memory behind them. Knows nothing of Kubernetes |
//! | [`gateway`] | the way into workspaces: the API on two faces, previews, the terminal page |
//! | [`link`] | the agents' links as a gateway holds them: tokens, keys, the hub |
//! | [`internal`] | what replicas say to each other, and the certificates that they show |
//! | [`listener`] | serving HTTP with or without TLS |
//! | [`operator`] | the process: start, leadership, shutdown |
//! | [`plugin`] | `kubectl berth`, which runs on people's machines: commands against the API server |
//! | [`health`], [`metrics`], [`telemetry`] | what the outside sees of the process |
//!
//! Two more crates: `berth-link` (what gateway and agent say to each other) and `berth-agent` (what
//! runs inside a workspace), so that the agent drags in no client of Kubernetes or Docker.
//!
//! The way of the data is one: **custom resource -> gather -> validate -> plan -> execute ->
//! status -> one write.** [`controller::workspace::plan`] and [`controller::workspace::status`]
//! are pure; start reading there.

pub mod api;
pub mod backend;
pub mod config;
pub mod controller;
pub mod gateway;
pub mod health;
pub mod internal;
pub mod link;
pub mod listener;
pub mod metrics;
pub mod operator;
pub mod plugin;
pub mod provision;
pub mod telemetry;
