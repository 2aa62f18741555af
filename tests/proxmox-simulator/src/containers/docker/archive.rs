//! Files of a stopped container, as Docker carries them: in tar archives. In a running one Docker
//! would mount its own `/etc/hostname` and the like again.

use std::{collections::BTreeMap, io, io::Read as _};

use bollard::{
    Docker,
    query_parameters::{
        ContainerArchiveInfoOptionsBuilder, DownloadFromContainerOptionsBuilder,
        UploadToContainerOptionsBuilder,
    },
};
use futures::StreamExt as _;

use super::errors;

/// No file that is read from a container is larger.
const LARGEST_FILE: u64 = 1 << 20;

/// What is written into a container: paths from the root without the leading `/`, in their order.
#[derive(Default)]
pub(super) struct Files(BTreeMap<String, Entry>);

enum Entry {
    Folder { mode: u32 },
    File { mode: u32, group: u64, content: Vec<u8> },
}

impl Files {
    /// Adds a folder of root's. One that is there gets this mode.
    pub(super) fn folder(mut self, path: &str, mode: u32) -> Self {
        self.0.insert(path.to_owned(), Entry::Folder { mode });
        self
    }

    /// Adds a file of root's.
    pub(super) fn file(self, path: &str, mode: u32, content: impl Into<Vec<u8>>) -> Self {
        self.file_of(0, path, mode, content)
    }

    /// Adds a file of root's and of this group.
    pub(super) fn file_of(mut self, group: u64, path: &str, mode: u32, content: impl Into<Vec<u8>>) -> Self {
        self.0.insert(path.to_owned(), Entry::File { mode, group, content: content.into() });
        self
    }

    fn pack(&self) -> io::Result<Vec<u8>> {
        let mut archive = tar::Builder::new(Vec::new());
        for (path, entry) in &self.0 {
            let mut header = tar::Header::new_gnu();
            let (mode, group, content): (_, _, &[u8]) = match entry {
                Entry::Folder { mode } => {
                    header.set_entry_type(tar::EntryType::Directory);
                    (*mode, 0, &[])
                }
                Entry::File { mode, group, content } => (*mode, *group, content),
            };
            header.set_mode(mode);
            header.set_gid(group);
            header.set_size(content.len() as u64);
            archive.append_data(&mut header, path, content)?;
        }
        archive.into_inner()
    }
}

/// Writes files into a container.
pub(super) async fn write(docker: &Docker, container: &str, files: &Files) -> Result<(), String> {
    let archive = files.pack().map_err(|error| format!("packing files: {error}"))?;
    let options = UploadToContainerOptionsBuilder::new().path("/").build();
    docker
        .upload_to_container(container, Some(options), bollard::body_full(archive.into()))
        .await
        .map_err(errors::during("write files"))
}

/// A file that was read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// The number of its group.
    pub(super) group: u64,
    /// What is in it.
    pub(super) content: Vec<u8>,
}

/// Whether there is anything at a path.
pub(super) async fn is_there(docker: &Docker, container: &str, path: &str) -> Result<bool, String> {
    let options = ContainerArchiveInfoOptionsBuilder::new().path(path).build();
    match docker.get_container_archive_info(container, Some(options)).await {
        Ok(_) => Ok(true),
        Err(error) if errors::is_not_found(&error) => Ok(false),
        Err(error) => Err(errors::during("look for a file")(error)),
    }
}

/// A regular file; `None` if there is none at the path.
pub(super) async fn read(docker: &Docker, container: &str, path: &str) -> Result<Option<Found>, String> {
    let options = DownloadFromContainerOptionsBuilder::new().path(path).build();
    let mut chunks = Box::pin(docker.download_from_container(container, Some(options)));
    let mut archive = Vec::new();
    while let Some(chunk) = chunks.next().await {
        match chunk {
            Ok(chunk) => archive.extend_from_slice(&chunk),
            Err(error) if errors::is_not_found(&error) => return Ok(None),
            Err(error) => return Err(errors::during("read a file")(error)),
        }
        if archive.len() as u64 > 2 * LARGEST_FILE {
            return Err(format!("{path} is too large"));
        }
    }
    unpack(&archive).map_err(|error| format!("{path}: {error}"))
}

fn unpack(archive: &[u8]) -> io::Result<Option<Found>> {
    let mut archive = tar::Archive::new(archive);
    let Some(entry) = archive.entries()?.next() else { return Ok(None) };
    let entry = entry?;
    if !entry.header().entry_type().is_file() {
        return Ok(None);
    }
    let group = entry.header().gid()?;
    let mut content = Vec::new();
    entry.take(LARGEST_FILE).read_to_end(&mut content)?;
    Ok(Some(Found { group, content }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packed_file_comes_out_again() {
        let archive = Files::default().file_of(42, "etc/motd", 0o644, "hello\n").pack().unwrap();
        let expected = Found { group: 42, content: b"hello\n".to_vec() };
        assert_eq!(unpack(&archive).unwrap(), Some(expected));
    }

    #[test]
    fn folders_come_before_what_is_in_them_and_are_no_files() {
        let files =
            Files::default().file("root/.ssh/authorized_keys", 0o600, "key").folder("root/.ssh", 0o700);
        let archive = files.pack().unwrap();
        assert_eq!(unpack(&archive).unwrap(), None);
        let mut entries = tar::Archive::new(&*archive);
        let modes: Vec<u32> =
            entries.entries().unwrap().map(|entry| entry.unwrap().header().mode().unwrap()).collect();
        assert_eq!(modes, [0o700, 0o600]);
    }
}
