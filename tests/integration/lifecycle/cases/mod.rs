//! The cases, one file a subject; every one is generic over the [`Stage`](super::stage::Stage).

pub mod crash;
pub mod failures;
pub mod loss;
pub mod making;
pub mod outage;
pub mod power;
pub mod removal;
