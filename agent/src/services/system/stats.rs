//! What the container uses.

use std::{fs, path::Path, time::Duration};

use berth_link::wire::system::Stats;
use nix::sys::statvfs::statvfs;
use tokio::{
    sync::Mutex,
    time::{Instant, sleep},
};

use super::{cgroup, processes};

/// What an earlier look is good for: too short a time says little, too long a one is not now.
const SINCE: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(30);
/// Time between two looks where there was none before.
const BETWEEN: Duration = Duration::from_millis(500);

/// How much the processors do, from one look to the next.
#[derive(Debug, Default)]
pub struct Processor {
    last: Mutex<Option<Look>>,
}

/// The processor time so far, at some time.
#[derive(Clone, Copy, Debug)]
struct Look {
    at: Instant,
    microseconds: u64,
}

impl Processor {
    /// Thousandths of a processor; none where the container is in no group.
    pub async fn load(&self, group: &Path) -> u64 {
        let mut last = self.last.lock().await;
        let Some(now) = Look::now(group) else { return 0 };
        let usable = last.filter(|last| SINCE.contains(&now.at.duration_since(last.at)));
        let (earlier, now) = match usable {
            Some(earlier) => (earlier, now),
            None => {
                sleep(BETWEEN).await;
                (now, Look::now(group).unwrap_or(now))
            }
        };
        *last = Some(now);
        thousandths(now.microseconds.saturating_sub(earlier.microseconds), now.at.duration_since(earlier.at))
    }
}

impl Look {
    fn now(group: &Path) -> Option<Self> {
        Some(Self { microseconds: cgroup::processor_time(group)?, at: Instant::now() })
    }
}

fn thousandths(microseconds: u64, time: Duration) -> u64 {
    let milliseconds = u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1);
    microseconds / milliseconds
}

/// All but the load of the processors. What can not be read is 0.
pub fn read(workspace: &Path, group: &Path, folder: &Path) -> Stats {
    let memory = cgroup::memory(group);
    let (disk_used_bytes, disk_size_bytes) = disk(workspace).unwrap_or_default();
    Stats {
        cpu_millis: 0,
        memory_bytes: memory.used,
        memory_limit_bytes: memory.limit,
        disk_used_bytes,
        disk_size_bytes,
        processes: processes::numbers(folder).count() as u64,
        uptime_seconds: uptime(folder).unwrap_or(0),
    }
}

/// Bytes in use, and of the whole file system.
fn disk(workspace: &Path) -> nix::Result<(u64, u64)> {
    let system = statvfs(workspace)?;
    let bytes = |blocks: u64| blocks.saturating_mul(system.fragment_size());
    Ok((bytes(system.blocks().saturating_sub(system.blocks_free())), bytes(system.blocks())))
}

/// Seconds since the first process of the container started.
fn uptime(folder: &Path) -> Option<u64> {
    let host = fs::read_to_string(folder.join("uptime")).ok()?;
    let seconds: u64 = host.split(['.', ' ']).next()?.parse().ok()?;
    let first = processes::Line::parse(&fs::read_to_string(folder.join("1/stat")).ok()?)?;
    Some(seconds.saturating_sub(first.started / processes::TICKS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_processor_is_five_hundred_thousandths() {
        assert_eq!(thousandths(1_000_000, Duration::from_secs(2)), 500);
        assert_eq!(thousandths(0, Duration::ZERO), 0);
    }

    #[test]
    fn a_container_is_as_old_as_its_first_process() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("1")).unwrap();
        fs::write(folder.path().join("uptime"), "500.25 900.00\n").unwrap();
        let line = "1 (init) S 0 1 1 0 -1 4194560 1 2 3 4 150 50 0 0 20 0 1 0 12345 1000 25";
        fs::write(folder.path().join("1/stat"), line).unwrap();
        assert_eq!(uptime(folder.path()), Some(377));
    }
}
