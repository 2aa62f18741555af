//! `berth-agent`: what runs inside a workspace.

fn main() {}
