//! Which ports are listened on, by the numbers of their sockets.

use std::{collections::HashMap, fs, path::Path};

/// State of a socket that listens, in `/proc/net/tcp`.
const LISTENING: &str = "0A";

/// Socket numbers with their ports.
pub fn listening(processes: &Path) -> HashMap<u64, u16> {
    ["net/tcp", "net/tcp6"]
        .iter()
        .filter_map(|name| fs::read_to_string(processes.join(name)).ok())
        .flat_map(|table| parse(&table))
        .collect()
}

fn parse(table: &str) -> Vec<(u64, u16)> {
    table.lines().skip(1).filter_map(listener).collect()
}

fn listener(line: &str) -> Option<(u64, u16)> {
    let mut fields = line.split_whitespace().skip(1);
    let (_, port) = fields.next()?.rsplit_once(':')?;
    let state = fields.nth(1)?;
    let number = fields.nth(5)?.parse().ok()?;
    (state == LISTENING).then_some((number, u16::from_str_radix(port, 16).ok()?))
}

/// Numbers of the sockets that a process has open, where they may be seen.
pub fn sockets(process: &Path) -> impl Iterator<Item = u64> {
    fs::read_dir(process.join("fd")).into_iter().flatten().flatten().filter_map(|open| {
        let target = fs::read_link(open.path()).ok()?;
        target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TABLE: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
        0: 0100007F:0BB8 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4711 1 0 100 0 0 10 0\n\
        1: 0100007F:0BB8 0100007F:9C40 01 00000000:00000000 00:00000000 00000000  1000        0 4712 1 0 100 0 0 10 0\n\
        2: 00000000000000000000000001000000:1F90 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4713 1 0\n\
        broken\n";

    #[test]
    fn only_sockets_that_listen_count() {
        assert_eq!(parse(TABLE), [(4711, 3000), (4713, 8080)]);
    }

    proptest! {
        #[test]
        fn any_text_can_be_read(text in ".{0,200}") {
            listener(&text);
        }
    }
}
