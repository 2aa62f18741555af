//! Hosts that exist only inside the process.
