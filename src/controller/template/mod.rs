//! The Template controller: says whether a Template can be used and which one is its namespace's
//! default, and builds container templates from OS templates.
//!
//! A pass goes the way of a Workspace's: validate -> observe -> plan (pure) -> execute one action ->
//! status (pure) -> one write. Building goes through the states `Provisioned`, `Cleaned` and
//! `Converted`, each written down when it is reached; everything between them is found out anew, so
//! a pass may be cut off anywhere. What is done inside the container lives in
//! [`crate::provision::template`].

use std::sync::Arc;

use kube::{ResourceExt, runtime::controller::Action};
use tracing::Instrument;

use super::context::Context;
use crate::api::Template;

mod execute;
mod pass;
pub mod phase;
pub mod plan;
pub mod record;
mod removal;
pub mod status;
#[cfg(test)]
mod status_tests;
pub mod validate;
mod write;

use pass::Pass;

/// `status.operation.kind` of the job that installs packages and sets up the user.
pub const OPERATION_PROVISION: &str = "Provision";
/// `status.operation.kind` while, and after, what must not be shared is taken out. Its handle is the
/// boot of the container on which that was done.
pub const OPERATION_CLEAN: &str = "Clean";

/// Works on one Template until nothing more can be done at once.
pub async fn reconcile(template: Arc<Template>, context: Arc<Context>) -> Result<Action, kube::Error> {
    let template = context.objects.freshest_template(template);
    let span = tracing::info_span!(
        "reconcile",
        template = format!("{}/{}", template.namespace().unwrap_or_default(), template.name_any()),
        trace_id = format!("{:032x}", rand::random::<u128>()),
    );
    let started = std::time::Instant::now();
    let result = Pass::new(&context, template).run().instrument(span).await;
    context.metrics.reconciled("Template", result.is_ok(), started.elapsed());
    result
}
