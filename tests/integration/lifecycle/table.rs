//! The list of cases as a page of the documentation.

use std::fmt::Write;

use super::{CASES, STAGES};
use crate::support::checkout;

const PAGE: &str = "docs/lifecycle-cases.md";
/// Set to write the page instead of checking it.
const WRITE: &str = "BERTH_WRITE_DOCS";

const HEAD: &str = "\
# Lifecycle cases

What is tested of the life of a Workspace, and on which backends. Every case is written once, and runs
on each backend that has a mark, with a real API server: `cargo test --test integration lifecycle::CASE`.

This page is made from the list of cases: `BERTH_WRITE_DOCS=1 cargo test --test integration lifecycle::table`.
";

fn page() -> String {
    let mut page = HEAD.to_owned();
    let mut subject = "";
    for case in CASES {
        if case.subject != subject {
            subject = case.subject;
            let names: Vec<&str> = STAGES.iter().map(|(_, words)| *words).collect();
            let line = "---|".repeat(STAGES.len() + 2);
            let _ = write!(page, "\n## {subject}\n\n| case | | {} |\n|{line}\n", names.join(" | "));
        }
        let mark = |stage: &str| case.stages.iter().find(|(name, _)| *name == stage).map(|(_, mark)| *mark);
        let marks: Vec<&str> = STAGES.iter().map(|(stage, _)| mark(stage).unwrap_or_default()).collect();
        let _ = writeln!(page, "| `{}` | {} | {} |", case.name, case.words, marks.join(" | "));
    }
    page
}

#[test]
fn the_page_shows_what_runs() {
    let path = checkout().join(PAGE);
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(&path, page()).expect("the page can not be written");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == page(), "{PAGE} is out of date: run this test with {WRITE}=1");
}

#[test]
fn every_case_runs_somewhere_and_every_stage_is_known() {
    for case in CASES {
        assert!(!case.stages.is_empty());
        for (stage, _) in case.stages {
            assert!(STAGES.iter().any(|(name, _)| name == stage), "{stage}");
        }
    }
}
