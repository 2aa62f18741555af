//! `git`: the repository of a workspace.

use berth_link::wire::git::{Commit, Committed, GitStatus, Paths};

use super::{
    arguments::{Git, Output},
    client::{Cluster, whole},
    exit::Failure,
    local,
    table::plain,
};

/// Looks at it, or changes it.
pub async fn run(cluster: &Cluster, name: &str, command: &Git) -> Result<u8, Failure> {
    let workspace = cluster.workspace(name);
    match command {
        Git::Status { output } => {
            let status: GitStatus = workspace.document("git").await?;
            match output {
                Output::Json => local::json(&status)?,
                Output::Text => local::print(text(&status).as_bytes())?,
            }
        }
        Git::Diff { staged, path } => {
            let mut query = vec![("staged", staged.to_string())];
            query.extend(path.iter().map(|path| ("path", path.clone())));
            local::print(&whole(workspace.get("git/diff", &query).await?).await?)?;
        }
        Git::Stage { paths } => drop(workspace.post("git/stage", &of(paths)).await?),
        Git::Unstage { paths } => drop(workspace.post("git/unstage", &of(paths)).await?),
        Git::Discard { paths, .. } => drop(workspace.post("git/discard", &of(paths)).await?),
        Git::Commit { message } => {
            let commit = Commit { message: message.clone() };
            let made: Committed = serde_json::from_slice(&workspace.post("git/commit", &commit).await?)?;
            local::line(&plain(&made.head))?;
        }
    }
    Ok(0)
}

fn of(paths: &[String]) -> Paths {
    Paths { paths: paths.to_vec() }
}

/// The status as `git status --short --branch` has it.
fn text(status: &GitStatus) -> String {
    let branch = status.branch.as_deref().unwrap_or("(no branch)");
    let mut lines = vec![format!("## {branch}{}", distance(status.ahead, status.behind))];
    lines.extend(status.staged.iter().map(|change| format!("{}  {}", change.kind, change.path)));
    lines.extend(status.unstaged.iter().map(|change| format!(" {} {}", change.kind, change.path)));
    lines.extend(status.untracked.iter().map(|path| format!("?? {path}")));
    if status.truncated {
        lines.push("There is more; the lists were cut.".to_owned());
    }
    lines.iter().map(|line| format!("{}\n", plain(line))).collect()
}

fn distance(ahead: u64, behind: u64) -> String {
    match (ahead, behind) {
        (0, 0) => String::new(),
        (ahead, 0) => format!(" [ahead {ahead}]"),
        (0, behind) => format!(" [behind {behind}]"),
        (ahead, behind) => format!(" [ahead {ahead}, behind {behind}]"),
    }
}

#[cfg(test)]
mod tests {
    use berth_link::wire::git::Change;

    use super::*;

    #[test]
    fn a_status_reads_as_git_s_own() {
        let change =
            |kind: &str, path: &str| Change { path: path.to_owned(), kind: kind.to_owned(), from: None };
        let status = GitStatus {
            branch: Some("main".to_owned()),
            ahead: 2,
            staged: vec![change("A", "a")],
            unstaged: vec![change("M", "b\u{1b}")],
            untracked: vec!["c".to_owned()],
            ..GitStatus::default()
        };
        assert_eq!(text(&status), "## main [ahead 2]\nA  a\n M b \n?? c\n");
    }
}
