//! What came of a clone.

use super::{ProvisionError, clone_failure};

/// The checkout in the workspace.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Checkout {
    /// The branch checked out; none when a tag or a commit is.
    pub branch: Option<String>,
    /// The commit checked out; none in an empty repository.
    pub head: Option<String>,
}

/// Reads the exit code and the end of the output of the job.
pub fn outcome(code: i64, output: &str) -> Result<Checkout, ProvisionError> {
    if code != 0 {
        return Err(clone_failure::failure(code, output));
    }
    let branch = reported(output, "berth:branch=").filter(|name| is_branch(name));
    let head = reported(output, "berth:head=").filter(|commit| is_commit(commit));
    Ok(Checkout { branch: branch.map(str::to_owned), head: head.map(str::to_owned) })
}

fn reported<'a>(output: &'a str, key: &str) -> Option<&'a str> {
    output.lines().rev().find_map(|line| line.strip_prefix(key))
}

fn is_branch(name: &str) -> bool {
    !name.is_empty() && name.len() <= 255 && !name.chars().any(|each| each.is_control() || each == ' ')
}

fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.chars().all(|each| each.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    #[rstest]
    #[case(format!("x\nberth:branch=main\nberth:head={COMMIT}\n"), Some("main"), Some(COMMIT))]
    #[case("berth:branch=main\nberth:head=\n".to_owned(), Some("main"), None)]
    #[case(format!("berth:branch=\nberth:head={COMMIT}\n"), None, Some(COMMIT))]
    #[case("berth:branch=a\u{1b}b\nberth:head=zzz\n".to_owned(), None, None)]
    #[case(String::new(), None, None)]
    fn what_the_script_reports(
        #[case] output: String,
        #[case] branch: Option<&str>,
        #[case] head: Option<&str>,
    ) {
        let checkout = outcome(0, &output).unwrap();
        assert_eq!((checkout.branch.as_deref(), checkout.head.as_deref()), (branch, head));
    }
}
