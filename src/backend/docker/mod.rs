//! Docker hosts.
