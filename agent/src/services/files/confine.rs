//! Where files may be: below the workspace, the user's home and the folder for temporary files.
//!
//! What a path means is decided here twice. Its text says below which of these folders it is;
//! from there the kernel resolves it and never leaves that folder, whatever symbolic links are
//! put in the way meanwhile.

use std::{
    io,
    path::{Component, Path, PathBuf},
};

use berth_link::wire::AgentProblem;
use cap_std::{ambient_authority, fs::Dir};

use super::problem::of_io;

/// Longest path in bytes.
const LONGEST: usize = 4_096;

/// The folders that files may be in.
#[derive(Clone, Debug)]
pub struct Places {
    workspace: PathBuf,
    roots: Vec<PathBuf>,
}

/// A place below one of the folders. Nothing is known yet about what is there.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Spot {
    /// The folder.
    pub root: PathBuf,
    /// The way from there: names only, none for the folder itself.
    pub below: PathBuf,
}

impl Places {
    /// These folders. Relative paths are below the workspace.
    pub fn new(workspace: &Path, others: &[&Path]) -> Self {
        let roots = std::iter::once(workspace)
            .chain(others.iter().copied())
            .filter_map(normal)
            // A user whose home is `/` would open everything.
            .filter(|root| root.parent().is_some())
            .collect();
        Self { workspace: workspace.to_owned(), roots }
    }

    /// Where a path is.
    ///
    /// `..` is taken by the text, as in a URL: it never goes through a symbolic link.
    ///
    /// # Errors
    ///
    /// `Invalid` without a path or with one that no system call takes; `PathNotAllowed` for a
    /// place outside of the folders.
    pub fn locate(&self, path: &str) -> Result<Spot, AgentProblem> {
        if path.is_empty() || path.len() > LONGEST || path.contains('\0') {
            let words = format!("path: 1 to {LONGEST} bytes, and no NUL");
            return Err(AgentProblem::new("Invalid", words));
        }
        let whole = normal(&self.workspace.join(path)).ok_or_else(|| outside(path))?;
        let root = self
            .roots
            .iter()
            .filter(|root| whole.starts_with(root))
            .max_by_key(|root| root.components().count())
            .ok_or_else(|| outside(path))?;
        let below = whole.strip_prefix(root).unwrap_or(Path::new("")).to_owned();
        Ok(Spot { root: root.clone(), below })
    }
}

impl Spot {
    /// Opens the folder that everything is resolved from.
    pub fn open_root(&self) -> Result<Dir, AgentProblem> {
        Dir::open_ambient_dir(&self.root, ambient_authority()).map_err(|error| of_io(&error, &self.root))
    }

    /// The way from the folder, as system calls take it.
    pub fn way(&self) -> &Path {
        if self.is_root() { Path::new(".") } else { &self.below }
    }

    /// Whether the folder itself is meant.
    pub fn is_root(&self) -> bool {
        self.below.as_os_str().is_empty()
    }

    /// The whole path, for people.
    pub fn path(&self) -> PathBuf {
        self.root.join(&self.below)
    }
}

/// Makes a folder, and those above it, where they are missing.
pub fn make_folders(root: &Dir, way: &Path) -> io::Result<()> {
    match root.create_dir_all(way) {
        // Something else stands there: a file, or a link that leads out.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => root.open_dir(way).map(drop),
        made => made,
    }
}

fn outside(path: &str) -> AgentProblem {
    let mut problem =
        AgentProblem::new("PathNotAllowed", "only files of the workspace, the user's home and /tmp");
    problem.details.insert("path".to_owned(), path.to_owned());
    problem
}

/// An absolute path without `.` and `..`.
fn normal(path: &Path) -> Option<PathBuf> {
    let mut names = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::RootDir => names = PathBuf::from("/"),
            Component::CurDir => {}
            Component::ParentDir => {
                names.pop();
            }
            Component::Normal(name) => names.push(name),
            Component::Prefix(_) => return None,
        }
    }
    path.is_absolute().then_some(names)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn places() -> Places {
        Places::new(Path::new("/workspace"), &[Path::new("/home/dev"), Path::new("/tmp")])
    }

    #[rstest]
    #[case("a/b", "/workspace", "a/b")]
    #[case(".", "/workspace", "")]
    #[case("/workspace", "/workspace", "")]
    #[case("/workspace//a/./b/", "/workspace", "a/b")]
    #[case("a/../b", "/workspace", "b")]
    #[case("../tmp/x", "/tmp", "x")]
    #[case("/home/dev/.bashrc", "/home/dev", ".bashrc")]
    #[case("..a/b..", "/workspace", "..a/b..")]
    fn a_path_is_below_one_of_the_folders(#[case] path: &str, #[case] root: &str, #[case] below: &str) {
        let spot = places().locate(path).unwrap();
        assert_eq!(spot, Spot { root: root.into(), below: below.into() });
    }

    #[rstest]
    #[case("..")]
    #[case("/")]
    #[case("/etc/passwd")]
    #[case("/workspace2/a")]
    #[case("/workspace/../etc/passwd")]
    #[case("/home/other")]
    #[case("/home")]
    #[case("/proc/self/root/workspace")]
    fn other_places_are_not_allowed(#[case] path: &str) {
        assert_eq!(places().locate(path).unwrap_err().code, "PathNotAllowed");
    }

    #[rstest]
    #[case("")]
    #[case("a\0b")]
    #[case(&"a/".repeat(LONGEST))]
    fn some_texts_are_no_paths(#[case] path: &str) {
        assert_eq!(places().locate(path).unwrap_err().code, "Invalid");
    }

    #[test]
    fn a_home_that_is_everything_opens_nothing() {
        let places = Places::new(Path::new("/workspace"), &[Path::new("/")]);
        assert_eq!(places.locate("/etc/passwd").unwrap_err().code, "PathNotAllowed");
    }

    proptest! {
        #[test]
        fn no_text_leads_out(path in "(/?(\\.|\\.\\.|workspace|home|dev|tmp|etc|[^/]{0,3})){0,9}") {
            if let Ok(spot) = places().locate(&path) {
                prop_assert!(places().roots.contains(&spot.root));
                prop_assert!(spot.below.components().all(|part| matches!(part, Component::Normal(_))));
            }
        }
    }
}
