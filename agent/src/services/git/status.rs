//! Reading `git status --porcelain=v2 --branch -z`.

use berth_link::wire::git::{Change, GitStatus};

/// Most entries of each list.
const MOST: usize = 10_000;

/// What git said, up to where it was cut. Lines of kinds that are not known are passed over.
pub fn parse(output: &[u8], cut: bool) -> GitStatus {
    let mut status = GitStatus { truncated: cut, ..GitStatus::default() };
    let mut records: Vec<_> = output.split(|byte| *byte == 0).collect();
    // After the last NUL stands nothing, or half a record.
    records.pop();
    let mut records = records.into_iter().map(String::from_utf8_lossy);
    while let Some(record) = records.next() {
        let Some((kind, rest)) = record.split_once(' ') else { continue };
        match kind {
            "#" => header(&mut status, rest),
            "1" => changed(&mut status, rest, 6, None),
            "2" => {
                let from = records.next().map(|from| from.into_owned());
                changed(&mut status, rest, 7, from);
            }
            "u" => {
                if let Some(path) = rest.splitn(10, ' ').nth(9) {
                    let change = Change { path: path.to_owned(), kind: "U".to_owned(), from: None };
                    push(&mut status.unstaged, change, &mut status.truncated);
                }
            }
            "?" => push(&mut status.untracked, rest.to_owned(), &mut status.truncated),
            _ => {}
        }
    }
    status.clean = !status.truncated
        && status.staged.is_empty()
        && status.unstaged.is_empty()
        && status.untracked.is_empty();
    status
}

fn header(status: &mut GitStatus, text: &str) {
    match text.split_once(' ') {
        Some(("branch.oid", head)) => status.head = told(head),
        Some(("branch.head", branch)) => status.branch = told(branch),
        Some(("branch.ab", counts)) => {
            if let Some((ahead, behind)) = counts.split_once(' ') {
                status.ahead = ahead.trim_start_matches('+').parse().unwrap_or(0);
                status.behind = behind.trim_start_matches('-').parse().unwrap_or(0);
            }
        }
        _ => {}
    }
}

/// Git puts into brackets that there is none.
fn told(text: &str) -> Option<String> {
    (!matches!(text, "(initial)" | "(detached)")).then(|| text.to_owned())
}

/// A change: two letters, some fields, the path.
fn changed(status: &mut GitStatus, text: &str, fields: usize, from: Option<String>) {
    let (Some(path), Some(letters)) = (text.splitn(fields + 2, ' ').nth(fields + 1), text.get(..2)) else {
        return;
    };
    let mut letters = letters.chars();
    for list in [&mut status.staged, &mut status.unstaged] {
        if let Some(letter) = letters.next().filter(|letter| *letter != '.') {
            let from = from.clone().filter(|_| matches!(letter, 'R' | 'C'));
            let change = Change { path: path.to_owned(), kind: letter.to_string(), from };
            push(list, change, &mut status.truncated);
        }
    }
}

fn push<T>(list: &mut Vec<T>, entry: T, truncated: &mut bool) {
    if list.len() < MOST {
        list.push(entry);
    } else {
        *truncated = true;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SOME: &str = "# branch.oid 12ab\0# branch.head main\0# branch.upstream origin/main\0\
        # branch.ab +2 -3\0\
        1 MD N... 100644 100644 100644 1 2 both changed\0\
        1 .M N... 100644 100644 100644 1 2 a\0\
        2 R. N... 100644 100644 100644 1 2 R100 new name\0old name\0\
        u UU N... 100644 100644 100644 100644 1 2 3 in conflict\0\
        ? un known\0! ignored\0";

    fn change(kind: &str, path: &str, from: Option<&str>) -> Change {
        Change { path: path.to_owned(), kind: kind.to_owned(), from: from.map(str::to_owned) }
    }

    #[test]
    fn everything_is_in_its_list() {
        let expected = GitStatus {
            branch: Some("main".to_owned()),
            head: Some("12ab".to_owned()),
            ahead: 2,
            behind: 3,
            clean: false,
            staged: vec![change("M", "both changed", None), change("R", "new name", Some("old name"))],
            unstaged: vec![
                change("D", "both changed", None),
                change("M", "a", None),
                change("U", "in conflict", None),
            ],
            untracked: vec!["un known".to_owned()],
            truncated: false,
        };
        assert_eq!(parse(SOME.as_bytes(), false), expected);
    }

    #[test]
    fn a_repository_may_have_no_commit_and_no_branch() {
        let status = parse(b"# branch.oid (initial)\0# branch.head (detached)\0", false);
        assert_eq!(status, GitStatus { clean: true, ..GitStatus::default() });
    }

    #[test]
    fn a_list_has_an_end() {
        let status = parse("? a\0".repeat(MOST + 1).as_bytes(), false);
        assert_eq!((status.untracked.len(), status.truncated), (MOST, true));
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_much(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            parse(&bytes, false);
        }

        #[test]
        fn half_an_answer_tells_nothing_else(at in 0..SOME.len()) {
            let (half, whole) = (parse(&SOME.as_bytes()[..at], true), parse(SOME.as_bytes(), false));
            prop_assert!(whole.untracked.starts_with(&half.untracked));
            prop_assert!(whole.unstaged.starts_with(&half.unstaged));
            prop_assert!(!half.clean);
        }

        #[test]
        fn a_path_is_what_it_was(path in "[^\0]{1,40}") {
            let record = format!("1 A. N... 0 1 1 0 1 {path}\0? {path}\0");
            let status = parse(record.as_bytes(), false);
            prop_assert_eq!(&status.staged, &[change("A", &path, None)]);
            prop_assert_eq!(status.untracked, [path]);
        }
    }
}
