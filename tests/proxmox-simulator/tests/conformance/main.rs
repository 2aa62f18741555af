//! How the API of Proxmox VE answers, call by call: the files in `cases` say it, and this holds them
//! against the simulator, or against the cluster that the environment names (see the README).

#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "tests")]

mod case;
mod client;
mod expected;
mod guests;
mod run;
mod target;

use std::path::{Path, PathBuf};

use rstest::rstest;

use crate::{case::Case, run::Outcome, target::Target};

/// VMIDs that each file has for itself.
const NUMBERS: u32 = 10;

#[rstest]
#[tokio::test]
async fn the_cluster_answers_as_written(#[files("tests/conformance/cases/*.yaml")] file: PathBuf) {
    let text = std::fs::read_to_string(&file).unwrap();
    let cases: Vec<Case> =
        serde_yaml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let target = Target::from_environment(place_of(&file) * NUMBERS).await;
    let mut failures = Vec::new();
    for case in &cases {
        match run::run(&target, case).await {
            Ok(Outcome::Passed) => {}
            Ok(Outcome::NotAsked(why)) => println!("not asked: {}: {why}", case.case),
            Err(words) => failures.push(format!("{}\n    {words}", case.case)),
        }
    }
    let (failed, all) = (failures.len(), cases.len());
    assert!(failures.is_empty(), "{failed} of {all} cases:\n\n{}\n", failures.join("\n\n"));
}

/// The file's place among its siblings.
fn place_of(file: &Path) -> u32 {
    let siblings = file.parent().unwrap().read_dir().unwrap().map(|entry| entry.unwrap().path());
    siblings.filter(|path| path.extension() == file.extension() && path.as_path() < file).map(|_| 1).sum()
}
