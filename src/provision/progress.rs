//! How far a clone has come, read off git's own display.

use super::redact::presentable;

const STAGES: &[&str] = &[
    "Counting objects:",
    "Compressing objects:",
    "Receiving objects:",
    "Resolving deltas:",
    "Updating files:",
    "Filtering content:",
];

/// The last line of progress in the output of a clone, such as
/// `Receiving objects:  45% (450/1000), 3.10 MiB | 2.00 MiB/s`.
pub fn progress(output: &str) -> Option<String> {
    output.rsplit(['\n', '\r']).find_map(|line| {
        let line = line.trim().trim_start_matches("remote:").trim_end_matches("\u{1b}[K").trim();
        // The end of the output may be half a line, so the percentage must be in it.
        let known = STAGES.iter().any(|stage| line.starts_with(stage)) && line.contains('%');
        known.then(|| presentable(line))
    })
}

/// Whether a line is part of the display and says nothing else.
pub(super) fn is_progress(line: &str) -> bool {
    progress(line).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("Cloning into '/workspace/.berth-clone-a'...\n", None)]
    #[case("", None)]
    #[case(
        "remote: Counting objects: 100% (9/9), done.\u{1b}[K\nReceiving objects:  44% (440/1000), 3.10 MiB | 2.00 MiB/s\rReceiving objects:  45% (450/1000), 3.10 MiB | 2.00 MiB/s\r",
        Some("Receiving objects: 45% (450/1000), 3.10 MiB | 2.00 MiB/s")
    )]
    #[case("Receiving objects:   1% (1/100)\rReceiving obj", Some("Receiving objects: 1% (1/100)"))]
    #[case("remote: Compressing objects:  50% (1/2)\u{1b}[K\r", Some("Compressing objects: 50% (1/2)"))]
    #[case(
        "Updating files: 100% (3/3), done.\nberth:branch=main\n",
        Some("Updating files: 100% (3/3), done.")
    )]
    fn the_last_line_counts(#[case] output: &str, #[case] expected: Option<&str>) {
        assert_eq!(progress(output).as_deref(), expected);
    }
}
