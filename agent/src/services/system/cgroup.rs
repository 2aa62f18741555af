//! What the container's control group says, of either version.

use std::{fs, path::Path};

/// Limits from here on are none.
const UNLIMITED: u64 = 1 << 60;

/// Memory of the group.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Memory {
    /// In use, in bytes, without what the kernel can drop.
    pub used: u64,
    /// Limit in bytes, where there is one.
    pub limit: Option<u64>,
}

/// Reads its memory; nothing is told where the container is in no group.
pub fn memory(group: &Path) -> Memory {
    let (usage, limit, statistics, droppable) = if is_second(group) {
        ("memory.current", "memory.max", "memory.stat", "inactive_file")
    } else {
        (
            "memory/memory.usage_in_bytes",
            "memory/memory.limit_in_bytes",
            "memory/memory.stat",
            "total_inactive_file",
        )
    };
    let droppable = value(group, statistics, droppable).unwrap_or(0);
    Memory {
        used: number(group, usage).unwrap_or(0).saturating_sub(droppable),
        limit: number(group, limit).filter(|limit| *limit < UNLIMITED),
    }
}

/// Its processor time so far, in microseconds.
pub fn processor_time(group: &Path) -> Option<u64> {
    if is_second(group) {
        value(group, "cpu.stat", "usage_usec")
    } else {
        number(group, "cpuacct/cpuacct.usage").map(|nanoseconds| nanoseconds / 1_000)
    }
}

fn is_second(group: &Path) -> bool {
    group.join("cgroup.controllers").exists()
}

fn number(group: &Path, name: &str) -> Option<u64> {
    fs::read_to_string(group.join(name)).ok()?.trim().parse().ok()
}

fn value(group: &Path, name: &str, key: &str) -> Option<u64> {
    let text = fs::read_to_string(group.join(name)).ok()?;
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const SECOND: &[(&str, &str)] = &[
        ("cgroup.controllers", "cpu memory\n"),
        ("memory.current", "1000\n"),
        ("memory.max", "5000\n"),
        ("memory.stat", "anon 1\ninactive_file_more 7\ninactive_file 300\n"),
        ("cpu.stat", "usage_usec 42\nuser_usec 1\n"),
    ];
    const FIRST: &[(&str, &str)] = &[
        ("memory/memory.usage_in_bytes", "1000\n"),
        ("memory/memory.limit_in_bytes", "5000\n"),
        ("memory/memory.stat", "inactive_file 7\ntotal_inactive_file 300\n"),
        ("cpuacct/cpuacct.usage", "42000\n"),
    ];

    fn group(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        folder
    }

    #[rstest]
    #[case(SECOND)]
    #[case(FIRST)]
    fn both_versions_tell_the_same(#[case] files: &[(&str, &str)]) {
        let group = group(files);
        assert_eq!(memory(group.path()), Memory { used: 700, limit: Some(5000) });
        assert_eq!(processor_time(group.path()), Some(42));
    }

    #[rstest]
    #[case("memory.max", "max\n")]
    #[case("memory.max", "9223372036854771712\n")]
    fn there_may_be_no_limit(#[case] name: &str, #[case] content: &str) {
        let group = group(SECOND);
        fs::write(group.path().join(name), content).unwrap();
        assert_eq!(memory(group.path()).limit, None);
    }

    #[test]
    fn there_may_be_no_group() {
        let group = group(&[]);
        assert_eq!((memory(group.path()), processor_time(group.path())), (Memory::default(), None));
    }
}
