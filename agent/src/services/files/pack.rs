//! Making an archive of a folder.

use std::{
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use cap_std::fs::{Dir, DirEntry, Metadata, MetadataExt, OpenOptions, OpenOptionsExt};
use nix::fcntl::OFlag;
use tar::{Builder, EntryType, Header};

/// Writes everything in a folder. Symbolic links stay links; sockets, pipes and devices are left
/// out, and so is what goes away meanwhile.
pub fn pack(folder: &Dir, out: impl Write) -> io::Result<()> {
    let mut archive = Builder::new(out);
    let mut ahead = vec![PathBuf::new()];
    while let Some(way) = ahead.pop() {
        let entries = if way.as_os_str().is_empty() { folder.entries() } else { folder.read_dir(&way) };
        for found in unless_gone(entries)?.into_iter().flatten() {
            let found = found?;
            let path = way.join(found.file_name());
            let Some(metadata) = unless_gone(found.metadata())? else { continue };
            if metadata.is_dir() {
                archive.append_data(&mut header(&metadata, EntryType::Directory, 0), &path, io::empty())?;
                ahead.push(path);
            } else if metadata.is_symlink() {
                let Some(target) = unless_gone(folder.read_link_contents(&path))? else { continue };
                archive.append_link(&mut header(&metadata, EntryType::Symlink, 0), &path, target)?;
            } else if metadata.is_file() {
                add_file(&mut archive, &found, &path)?;
            }
        }
    }
    archive.into_inner()?.flush()
}

fn add_file(archive: &mut Builder<impl Write>, found: &DirEntry, path: &Path) -> io::Result<()> {
    let flags = (OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW).bits();
    let opened = found.open_with(OpenOptions::new().read(true).custom_flags(flags));
    let Some(file) = unless_gone(opened)? else { return Ok(()) };
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Ok(());
    }
    let size = metadata.len();
    // A file that gets shorter or longer meanwhile must not shift what comes after it.
    let content = file.chain(io::repeat(0)).take(size);
    archive.append_data(&mut header(&metadata, EntryType::Regular, size), path, content)
}

fn header(metadata: &Metadata, kind: EntryType, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(metadata.mode() & 0o7777);
    header.set_uid(metadata.uid().into());
    header.set_gid(metadata.gid().into());
    header.set_mtime(metadata.mtime().try_into().unwrap_or(0));
    header.set_size(size);
    header
}

fn unless_gone<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        result => result.map(Some),
    }
}
