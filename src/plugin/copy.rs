//! `cp`: files and folders between this machine and a workspace. Folders go as tar streams.
//!
//! What comes out of a workspace is anybody's: only files and folders are unpacked, and only
//! below the folder that was named.

use std::{
    io::{self, Read, Write},
    path::{Path, PathBuf},
    str::FromStr,
};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use http::Method;
use http_body_util::BodyExt;
use kube::client::Body;
use tokio::{io::AsyncWriteExt, sync::mpsc, task::spawn_blocking};

use super::{
    client::{Cluster, Subresources},
    exit::{Failure, Kind},
};

/// Most bytes of an upload: it is held in memory, since the client of the API server takes no
/// streams.
const LARGEST_UPLOAD: u64 = 512 << 20;

/// One end of a copy.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Place {
    /// A path of this machine.
    Local(PathBuf),
    /// A path in a workspace.
    Remote {
        /// The workspace.
        workspace: String,
        /// The path: absolute or below `/workspace`.
        path: String,
    },
}

impl FromStr for Place {
    type Err = String;

    /// `WORKSPACE:PATH` is in a workspace, unless what stands before the colon can be no
    /// workspace's name, such as `./a:b`.
    fn from_str(text: &str) -> Result<Self, String> {
        let name = |name: &str| {
            !name.is_empty()
                && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        };
        match text.split_once(':') {
            Some((workspace, "")) if name(workspace) => {
                Err(format!("give a path after {workspace}:, such as {workspace}:."))
            }
            Some((workspace, path)) if name(workspace) => {
                Ok(Self::Remote { workspace: workspace.to_owned(), path: path.to_owned() })
            }
            _ if text.is_empty() => Err("give a path".to_owned()),
            _ => Ok(Self::Local(PathBuf::from(text))),
        }
    }
}

/// Copies.
pub async fn run(cluster: &Cluster, from: &Place, to: &Place) -> Result<u8, Failure> {
    match (from, to) {
        (Place::Remote { workspace, path }, Place::Local(to)) => {
            download(&cluster.workspace(workspace), path, to).await?;
        }
        (Place::Local(from), Place::Remote { workspace, path }) => {
            upload(&cluster.workspace(workspace), from, path).await?;
        }
        _ => {
            return Err(Failure::usage("one of the two places is WORKSPACE:PATH, the other one a path here"));
        }
    }
    Ok(0)
}

async fn download(workspace: &Subresources<'_>, path: &str, to: &Path) -> Result<(), Failure> {
    let query = [("path", path.to_owned())];
    match workspace.get("files/archive", &query).await {
        Ok(answer) => {
            let parts = answer.into_body().into_data_stream().map_err(io::Error::other);
            let to = to.to_owned();
            through_channel(parts, move |reader| unpack(reader, &to)).await
        }
        // It is no folder, or can not be packed: as a file it is, or says why not.
        Err(failure) if !matches!(failure.kind, Kind::NotFound | Kind::Forbidden | Kind::NotReady) => {
            let answer = workspace.get("files", &query).await?;
            let target = if to.is_dir() { to.join(last_part(path)?) } else { to.to_owned() };
            let mut file = tokio::fs::File::create(&target).await.map_err(|error| about(&target, error))?;
            let mut parts = answer.into_body().into_data_stream();
            while let Some(part) = parts.next().await {
                let part = part.map_err(|error| Failure::failed(format!("the answer broke off: {error}")))?;
                file.write_all(&part).await.map_err(|error| about(&target, error))?;
            }
            Ok(file.flush().await?)
        }
        Err(failure) => Err(failure),
    }
}

async fn upload(workspace: &Subresources<'_>, from: &Path, path: &str) -> Result<(), Failure> {
    let metadata = tokio::fs::metadata(from).await.map_err(|error| about(from, error))?;
    if metadata.is_dir() {
        let folder = from.to_owned();
        let packed = spawn_blocking(move || pack(&folder)).await;
        let packed = packed.map_err(|error| Failure::failed(error.to_string()))?;
        let archive = packed.map_err(|error| about(from, error))?;
        return put(workspace, "files/archive", vec![("path", path.to_owned())], archive).await;
    }
    if metadata.len() > LARGEST_UPLOAD {
        return Err(about(from, too_large()));
    }
    let path = match path.ends_with('/') {
        true => format!("{path}{}", last_part(&from.to_string_lossy())?),
        false => path.to_owned(),
    };
    let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions());
    let content = tokio::fs::read(from).await.map_err(|error| about(from, error))?;
    put(workspace, "files", vec![("path", path), ("mode", format!("{:o}", mode & 0o777))], content).await
}

async fn put(
    workspace: &Subresources<'_>,
    subresource: &str,
    query: Vec<(&str, String)>,
    content: Vec<u8>,
) -> Result<(), Failure> {
    let mut request = workspace.request(Method::PUT, subresource, &query, Body::from(content))?;
    let kind = http::HeaderValue::from_static("application/octet-stream");
    request.headers_mut().insert(http::header::CONTENT_TYPE, kind);
    workspace.send(request).await.map(drop)
}

/// Gives a blocking reader what a stream brings.
async fn through_channel(
    parts: impl futures::Stream<Item = io::Result<Bytes>>,
    read: impl FnOnce(PipeReader) -> io::Result<()> + Send + 'static,
) -> Result<(), Failure> {
    let (sender, receiver) = mpsc::channel(8);
    let reading = spawn_blocking(move || read(PipeReader { receiver, rest: Bytes::new() }));
    let mut parts = std::pin::pin!(parts);
    while let Some(part) = parts.next().await {
        if sender.send(part).await.is_err() {
            break;
        }
    }
    drop(sender);
    Ok(reading.await.map_err(|error| Failure::failed(error.to_string()))??)
}

/// Packs a folder. Links are packed as links.
fn pack(folder: &Path) -> io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Bounded(Vec::new()));
    archive.follow_symlinks(false);
    archive.append_dir_all(".", folder)?;
    Ok(archive.into_inner()?.0)
}

fn too_large() -> io::Error {
    io::Error::other(format!("more than the {} MiB that can be sent at once", LARGEST_UPLOAD >> 20))
}

/// Unpacks files and folders below a folder.
fn unpack(reader: impl Read, folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let mut archive = tar::Archive::new(reader);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let kind = entry.header().entry_type();
        if !(kind.is_file() || kind.is_dir()) {
            eprintln!("left out, neither file nor folder: {:?}", entry.path()?);
        } else if !entry.unpack_in(folder)? {
            eprintln!("left out, not below the folder: {:?}", entry.path()?);
        }
    }
    Ok(())
}

fn last_part(path: &str) -> Result<String, Failure> {
    let name = Path::new(path).file_name().and_then(|name| name.to_str());
    name.map(str::to_owned).ok_or_else(|| Failure::usage(format!("{path:?} has no file name")))
}

fn about(path: &Path, error: impl std::fmt::Display) -> Failure {
    Failure::failed(format!("{}: {error}", path.display()))
}

struct PipeReader {
    receiver: mpsc::Receiver<io::Result<Bytes>>,
    rest: Bytes,
}

impl Read for PipeReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.receiver.blocking_recv() {
                Some(part) => self.rest = part?,
                None => return Ok(0),
            }
        }
        let length = buffer.len().min(self.rest.len());
        buffer[..length].copy_from_slice(&self.rest.split_to(length));
        Ok(length)
    }
}

/// Memory with a bound.
struct Bounded(Vec<u8>);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.0.len().saturating_add(bytes.len());
        if u64::try_from(length).unwrap_or(u64::MAX) > LARGEST_UPLOAD {
            return Err(too_large());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn remote(workspace: &str, path: &str) -> Option<Place> {
        Some(Place::Remote { workspace: workspace.to_owned(), path: path.to_owned() })
    }

    #[rstest]
    #[case("a:src", remote("a", "src"))]
    #[case("a-1:/tmp/x:y", remote("a-1", "/tmp/x:y"))]
    #[case("src", Some(Place::Local("src".into())))]
    #[case("./a:b", Some(Place::Local("./a:b".into())))]
    #[case("/a:b", Some(Place::Local("/a:b".into())))]
    #[case("a:", None)]
    #[case("", None)]
    fn places_are_told_apart(#[case] text: &str, #[case] expected: Option<Place>) {
        assert_eq!(text.parse().ok(), expected);
    }

    #[test]
    fn only_what_stays_below_the_folder_is_unpacked() {
        let mut archive = tar::Builder::new(Vec::new());
        let mut add = |name: &str, kind: tar::EntryType, link: Option<&str>| {
            let mut header = tar::Header::new_gnu();
            header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_entry_type(kind);
            header.set_mode(0o644);
            header.set_size(if kind.is_file() { 1 } else { 0 });
            if let Some(link) = link {
                header.set_link_name(link).unwrap();
            }
            header.set_cksum();
            archive.append(&header, &b"x"[..if kind.is_file() { 1 } else { 0 }]).unwrap();
        };
        add("good", tar::EntryType::Regular, None);
        add("../evil", tar::EntryType::Regular, None);
        add("link", tar::EntryType::Symlink, Some("/etc"));
        add("link/evil", tar::EntryType::Regular, None);
        let bytes = archive.into_inner().unwrap();
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("folder");
        unpack(bytes.as_slice(), &folder).unwrap();
        assert!(folder.join("good").is_file());
        assert!(!parent.path().join("evil").exists());
        assert!(!folder.join("link").is_symlink());
    }
}
