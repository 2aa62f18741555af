//! Files of a container, running or not, as Docker carries them: in tar archives.

use std::{collections::BTreeMap, io, io::Read as _};

use bollard::{
    Docker,
    query_parameters::{DownloadFromContainerOptionsBuilder, UploadToContainerOptionsBuilder},
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
    File { mode: u32, content: Vec<u8> },
}

impl Files {
    /// Adds a folder of root's. One that is there gets this mode.
    pub(super) fn folder(mut self, path: &str, mode: u32) -> Self {
        self.0.insert(path.to_owned(), Entry::Folder { mode });
        self
    }

    /// Adds a file of root's.
    pub(super) fn file(mut self, path: &str, mode: u32, content: impl Into<Vec<u8>>) -> Self {
        self.0.insert(path.to_owned(), Entry::File { mode, content: content.into() });
        self
    }

    fn pack(&self) -> io::Result<Vec<u8>> {
        let mut archive = tar::Builder::new(Vec::new());
        for (path, entry) in &self.0 {
            let mut header = tar::Header::new_gnu();
            let (mode, content): (_, &[u8]) = match entry {
                Entry::Folder { mode } => {
                    header.set_entry_type(tar::EntryType::Directory);
                    (*mode, &[])
                }
                Entry::File { mode, content } => (*mode, content),
            };
            header.set_mode(mode);
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

/// The content of a regular file; `None` if there is none at the path.
pub(super) async fn read(docker: &Docker, container: &str, path: &str) -> Result<Option<Vec<u8>>, String> {
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

fn unpack(archive: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let mut archive = tar::Archive::new(archive);
    let Some(entry) = archive.entries()?.next() else { return Ok(None) };
    let entry = entry?;
    if !entry.header().entry_type().is_file() {
        return Ok(None);
    }
    let mut content = Vec::new();
    entry.take(LARGEST_FILE).read_to_end(&mut content)?;
    Ok(Some(content))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packed_file_comes_out_again() {
        let archive = Files::default().file("etc/motd", 0o644, "hello\n").pack().unwrap();
        assert_eq!(unpack(&archive).unwrap(), Some(b"hello\n".to_vec()));
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
