//! What was found, and how it reads.

use std::{collections::BTreeSet, fmt};

/// How it is with something that was looked at.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// As it has to be.
    Fine,
    /// Workspaces can be without it.
    Doubtful,
    /// Workspaces need it.
    Missing,
}

/// Something that was looked at. It reads as one line, and further lines with the commands that mend
/// it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding {
    /// What was looked at.
    pub subject: String,
    /// How it is.
    pub verdict: Verdict,
    /// What is so; of something that is missing, what is not so.
    pub words: String,
    /// Commands for an administrator, most of them on a node.
    pub mend: Vec<String>,
}

impl Finding {
    pub(super) fn fine(subject: impl Into<String>, words: impl Into<String>) -> Self {
        Self::new(Verdict::Fine, subject.into(), words.into())
    }

    pub(super) fn doubtful(subject: impl Into<String>, words: impl Into<String>) -> Self {
        Self::new(Verdict::Doubtful, subject.into(), words.into())
    }

    pub(super) fn missing(subject: impl Into<String>, words: impl Into<String>) -> Self {
        Self::new(Verdict::Missing, subject.into(), words.into())
    }

    fn new(verdict: Verdict, subject: String, words: String) -> Self {
        Self { subject, verdict, words, mend: Vec::new() }
    }

    /// Adds a command that mends it.
    pub(super) fn mended_by(mut self, command: impl Into<String>) -> Self {
        self.mend.push(command.into());
        self
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { subject, verdict, words, mend } = self;
        let verdict = match verdict {
            Verdict::Fine => "",
            Verdict::Doubtful => "WARNING: ",
            Verdict::Missing => "NOT ",
        };
        write!(f, "{subject}: {verdict}{words}")?;
        mend.iter().try_for_each(|command| write!(f, "\n    {command}"))
    }
}

/// Leaves out commands that stand below an earlier finding already.
pub(super) fn say_once(findings: &mut [Finding]) {
    let mut said = BTreeSet::new();
    for finding in findings.iter_mut().filter(|finding| !finding.mend.is_empty()) {
        if !said.insert(finding.mend.clone()) {
            finding.mend = vec!["(as above)".to_owned()];
        }
    }
}

/// A text of the cluster's, of bounded length and without what a terminal would obey.
pub(super) fn shown(text: &str) -> String {
    text.chars().filter(|char| !char.is_control()).take(80).collect()
}

/// A word of a shell command.
pub(super) fn quoted(word: &str) -> String {
    let plain = |char: char| char.is_ascii_alphanumeric() || "@._-/:=,+".contains(char);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_reads_as_a_line_with_its_commands() {
        let missing = Finding::missing("pool workspaces", "there").mended_by("pveum pool add workspaces");
        assert_eq!(missing.to_string(), "pool workspaces: NOT there\n    pveum pool add workspaces");
        assert_eq!(Finding::doubtful("TLS", "x").to_string(), "TLS: WARNING: x");
        assert_eq!(Finding::fine("TLS", "x").to_string(), "TLS: x");
    }

    #[test]
    fn the_same_commands_stand_there_once() {
        let missing = |subject: &str| Finding::missing(subject, "x").mended_by("pvesm status");
        let mut findings = [missing("a"), missing("b"), Finding::fine("c", "x"), Finding::fine("d", "x")];
        say_once(&mut findings);
        let shown: Vec<String> = findings.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["a: NOT x\n    pvesm status", "b: NOT x\n    (as above)", "c: x", "d: x"]);
    }

    #[rstest::rstest]
    #[case("berth@pve", "berth@pve")]
    #[case("berth@pve!operator", "'berth@pve!operator'")]
    #[case("it's", r"'it'\''s'")]
    #[case("", "''")]
    fn words_of_a_shell(#[case] word: &str, #[case] expected: &str) {
        assert_eq!(quoted(word), expected);
    }
}
