//! The names of tasks.

use std::{fmt, str::FromStr};

use serde::Serialize;

/// What a task's name says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Upid {
    /// The node that it runs on.
    pub node: String,
    /// Its process.
    pub pid: u32,
    /// When the process started, in the kernel's ticks.
    pub pstart: u64,
    /// When it started, in seconds since 1970.
    pub start: u64,
    /// Its type.
    pub kind: String,
    /// What it is about, mostly a number.
    pub id: String,
    /// Who started it, perhaps with `!token`.
    pub user: String,
}

impl fmt::Display for Upid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { node, pid, pstart, start, kind, id, user } = self;
        write!(formatter, "UPID:{node}:{pid:08X}:{pstart:08X}:{start:08X}:{kind}:{id}:{user}:")
    }
}

impl FromStr for Upid {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts: Vec<&str> = text.split(':').collect();
        let ["UPID", node, pid, pstart, start, kind, id, user, ""] = parts.as_slice() else {
            return Err("unable to parse worker upid");
        };
        let number = |text: &str| u64::from_str_radix(text, 16).map_err(|_| "unable to parse worker upid");
        Ok(Self {
            node: (*node).to_owned(),
            pid: u32::from_str_radix(pid, 16).map_err(|_| "unable to parse worker upid")?,
            pstart: number(pstart)?,
            start: number(start)?,
            kind: (*kind).to_owned(),
            id: (*id).to_owned(),
            user: (*user).to_owned(),
        })
    }
}
