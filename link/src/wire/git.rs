//! The repository of a workspace.

use serde::{Deserialize, Serialize};

/// How the repository stands.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GitStatus {
    /// The branch; absent where no branch is checked out.
    pub branch: Option<String>,
    /// The commit; absent in a repository without commits.
    pub head: Option<String>,
    /// Commits that the branch it follows does not have.
    pub ahead: u64,
    /// Commits of the branch it follows that it does not have.
    pub behind: u64,
    /// Whether nothing is staged, changed or untracked.
    pub clean: bool,
    /// Changes that are staged.
    pub staged: Vec<Change>,
    /// Changes that are not.
    pub unstaged: Vec<Change>,
    /// Files that git does not know.
    pub untracked: Vec<String>,
    /// Whether some of the lists were cut at 10,000.
    pub truncated: bool,
}

/// A changed file.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// Its path below the repository.
    pub path: String,
    /// What happened to it, as git's letter: M, T, A, D, R, C or U.
    pub kind: String,
    /// Its earlier path, where it was renamed or copied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
}

/// Which difference is wanted.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DiffQuery {
    /// What is staged against the last commit, rather than the files against what is staged.
    pub staged: bool,
    /// Only this path.
    pub path: Option<String>,
}

/// Some files; none stands for all.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Paths {
    /// Paths below the repository.
    pub paths: Vec<String>,
}

/// A commit to be made of what is staged.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Commit {
    /// Its message.
    pub message: String,
}

/// A commit that was made.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Committed {
    /// Its hash.
    pub head: String,
}
