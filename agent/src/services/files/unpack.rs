//! Unpacking an archive into a folder.
//!
//! An archive is somebody's text: names in it are only ever resolved below the folder, and the
//! kernel follows no link out of it, also none that the archive itself has brought.

use std::{
    ffi::OsStr,
    fs::Permissions,
    io::{self, Read},
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
    path::{Component, Path, PathBuf},
    time::{Duration, SystemTime},
};

use berth_link::wire::AgentProblem;
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use tar::{Archive, Entry, EntryType, PaxExtensions};

use super::{
    confine::make_folders,
    problem::{of_io, with_path},
};

/// Most bytes of what stands before an entry and tells more about it, such as a long name.
const EXTENSION: u64 = 64 << 10;

/// What stood before an entry.
#[derive(Default)]
struct Told {
    path: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
}

/// Unpacks everything. What came before a problem stays.
///
/// # Errors
///
/// `PathNotAllowed` for an entry that leads out; `Invalid` for what is no archive, and for devices.
pub fn unpack(folder: &Dir, archive: impl Read) -> Result<(), AgentProblem> {
    let mut archive = Archive::new(archive);
    let mut told = Told::default();
    // Raw, because otherwise long names are read into memory whatever their length.
    for entry in archive.entries().map_err(|error| broken(&error))?.raw(true) {
        let mut entry = entry.map_err(|error| broken(&error))?;
        match entry.header().entry_type() {
            EntryType::GNULongName => told.path = Some(text(&mut entry)?),
            EntryType::GNULongLink => told.target = Some(text(&mut entry)?),
            EntryType::XHeader => told.take_in(&text(&mut entry)?)?,
            EntryType::XGlobalHeader => {}
            kind => place(folder, kind, &mut entry, std::mem::take(&mut told))?,
        }
    }
    Ok(())
}

impl Told {
    fn take_in(&mut self, records: &[u8]) -> Result<(), AgentProblem> {
        for record in PaxExtensions::new(records) {
            let record = record.map_err(|error| broken(&error))?;
            let value = || Some(record.value_bytes().to_owned());
            match record.key_bytes() {
                b"path" => self.path = value(),
                b"linkpath" => self.target = value(),
                b"size" => return Err(AgentProblem::new("Invalid", "sizes in PAX headers are not known")),
                _ => {}
            }
        }
        Ok(())
    }
}

fn text(entry: &mut Entry<'_, impl Read>) -> Result<Vec<u8>, AgentProblem> {
    if entry.size() > EXTENSION {
        return Err(AgentProblem::new("Invalid", format!("a name of more than {EXTENSION} bytes")));
    }
    let mut text = Vec::new();
    entry.read_to_end(&mut text).map_err(|error| broken(&error))?;
    while text.last() == Some(&0) {
        text.pop();
    }
    Ok(text)
}

fn place(
    folder: &Dir,
    kind: EntryType,
    entry: &mut Entry<'_, impl Read>,
    told: Told,
) -> Result<(), AgentProblem> {
    let name = told.path.unwrap_or_else(|| entry.header().path_bytes().into_owned());
    let path = below(&name)?;
    let problem = |error: io::Error| of_io(&error, &path);
    let target = || {
        let own = || entry.header().link_name_bytes().map(|target| target.into_owned());
        told.target.clone().or_else(own).unwrap_or_default()
    };
    // The folder itself, which is there already.
    if path.as_os_str().is_empty() {
        return Ok(());
    }
    let mode = entry.header().mode().map_err(|error| broken(&error))? & 0o777;
    if kind.is_dir() {
        make_folders(folder, &path).map_err(problem)?;
        // What is to be put into it must get in.
        let permissions = cap_std::fs::Permissions::from_std(Permissions::from_mode(mode | 0o700));
        return folder.set_permissions(&path, permissions).map_err(problem);
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        make_folders(folder, parent).map_err(problem)?;
    }
    match kind {
        EntryType::Regular | EntryType::Continuous => {
            clear(folder, &path).map_err(problem)?;
            content(folder, &path, mode, entry)
        }
        EntryType::Symlink => {
            let target = target();
            clear(folder, &path).map_err(problem)?;
            folder.symlink_contents(OsStr::from_bytes(&target), &path).map_err(problem)
        }
        EntryType::Link => {
            let source = below(&target())?;
            if source == path {
                return Ok(());
            }
            clear(folder, &path).map_err(problem)?;
            folder.hard_link(&source, folder, &path).map_err(problem)
        }
        _ => Err(with_path("Invalid", "only files, folders and links are unpacked", &path)),
    }
}

fn content(
    folder: &Dir,
    path: &Path,
    mode: u32,
    entry: &mut Entry<'_, impl Read>,
) -> Result<(), AgentProblem> {
    let problem = |error| of_io(&error, path);
    let mut options = OpenOptions::new();
    let options = options.write(true).create_new(true).mode(0o600);
    let mut file = folder.open_with(path, options).map_err(problem)?.into_std();
    let size = entry.size();
    if io::copy(entry, &mut file).map_err(problem)? < size {
        return Err(broken(&io::ErrorKind::UnexpectedEof.into()));
    }
    file.set_permissions(Permissions::from_mode(mode)).map_err(problem)?;
    let seconds = entry.header().mtime().unwrap_or(0);
    match SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)) {
        Some(time) => file.set_modified(time).map_err(problem),
        None => Ok(()),
    }
}

/// Makes room for a new entry: what was there before is not written through, nor into.
fn clear(folder: &Dir, path: &Path) -> io::Result<()> {
    match folder.remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        cleared => cleared,
    }
}

/// A name as a way below the folder.
fn below(name: &[u8]) -> Result<PathBuf, AgentProblem> {
    let path = Path::new(OsStr::from_bytes(name));
    let inside = path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if !inside || name.contains(&0) {
        return Err(with_path("PathNotAllowed", "this entry leads out of the folder", path));
    }
    Ok(path.components().filter(|part| matches!(part, Component::Normal(_))).collect())
}

fn broken(error: &io::Error) -> AgentProblem {
    AgentProblem::new("Invalid", format!("the archive can not be read: {error}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_name_leads_out(name in "(/?(\\.|\\.\\.|[^/]{0,3})){0,6}") {
            if let Ok(path) = below(name.as_bytes()) {
                prop_assert!(path.components().all(|part| matches!(part, Component::Normal(_))));
                prop_assert!(!name.starts_with('/') && !name.split('/').any(|part| part == ".."));
            }
        }
    }
}
