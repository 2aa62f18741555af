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
use http::{Method, Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use kube::client::Body;
use tokio::{io::AsyncWriteExt, sync::mpsc, task::spawn_blocking};
use tokio_util::io::ReaderStream;

use super::{
    client::{Cluster, Subresources},
    exit::{Failure, Kind},
    local,
};

/// Pieces of an upload that wait to be sent.
const PENDING: usize = 8;
/// Bytes of a piece.
const PIECE: usize = 64 << 10;

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
        let (sender, pieces) = mpsc::channel(PENDING);
        let folder = from.to_owned();
        let packing = spawn_blocking(move || pack(&folder, sender));
        let sent = put(workspace, "files/archive", vec![("path", path.to_owned())], pieces).await;
        return match packing.await {
            Ok(Err(error)) => Err(about(from, error)),
            Ok(Ok(())) => sent,
            Err(error) => Err(Failure::failed(error.to_string())),
        };
    }
    let path = match path.ends_with('/') {
        true => format!("{path}{}", last_part(&from.to_string_lossy())?),
        false => path.to_owned(),
    };
    let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions());
    let file = tokio::fs::File::open(from).await.map_err(|error| about(from, error))?;
    let (sender, pieces) = mpsc::channel(PENDING);
    let reading = tokio::spawn(async move {
        let mut content = ReaderStream::with_capacity(file, PIECE);
        while let Some(piece) = content.next().await {
            if sender.send(piece).await.is_err() {
                return;
            }
        }
    });
    let query = vec![("path", path), ("mode", format!("{:o}", mode & 0o777))];
    let sent = put(workspace, "files", query, pieces).await;
    reading.abort();
    sent
}

async fn put(
    workspace: &Subresources<'_>,
    subresource: &str,
    query: Vec<(&str, String)>,
    pieces: mpsc::Receiver<io::Result<Bytes>>,
) -> Result<(), Failure> {
    let body = streaming(pieces).await.map_err(|error| Failure::failed(error.to_string()))?;
    let mut request = workspace.request(Method::PUT, subresource, &query, body)?;
    let kind = http::HeaderValue::from_static("application/octet-stream");
    request.headers_mut().insert(http::header::CONTENT_TYPE, kind);
    workspace.send(request).await.map(drop)
}

/// A body for the client of the API server that brings pieces as they come. That client makes
/// streaming bodies of answers alone, so one of its own kind answers with the pieces.
async fn streaming(pieces: mpsc::Receiver<io::Result<Bytes>>) -> kube::Result<Body> {
    let pieces = futures::stream::unfold(pieces, |mut pieces| async move {
        let piece = pieces.recv().await?;
        Some((piece.map(Frame::data), pieces))
    });
    let mut answer = Some(Response::new(StreamBody::new(pieces)));
    let echo = tower::service_fn(move |_: Request<Body>| {
        std::future::ready(answer.take().ok_or_else(|| io::Error::other("it answers once")))
    });
    let answer = kube::Client::new(echo, "default").send(Request::new(Body::empty())).await?;
    Ok(answer.into_body())
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

/// Packs a folder, piece by piece. Links are packed as links. An archive that could not be
/// finished ends in an error, so that nobody takes it for a whole one.
fn pack(folder: &Path, sender: mpsc::Sender<io::Result<Bytes>>) -> io::Result<()> {
    let write = || {
        let pieces = PipeWriter(sender.clone());
        let mut archive = tar::Builder::new(io::BufWriter::with_capacity(PIECE, pieces));
        archive.follow_symlinks(false);
        archive.append_dir_all(".", folder)?;
        archive.into_inner()?.into_inner().map_err(io::IntoInnerError::into_error).map(drop)
    };
    match write() {
        // Whoever took the pieces says why no more are wanted.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => {
            let _ = sender.blocking_send(Err(io::Error::other("the archive is not whole")));
            Err(error)
        }
        Ok(()) => Ok(()),
    }
}

/// Unpacks files and folders below a folder.
fn unpack(reader: impl Read, folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let mut archive = tar::Archive::new(reader);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let kind = entry.header().entry_type();
        if !(kind.is_file() || kind.is_dir()) {
            local::note(&format!("left out, neither file nor folder: {:?}", entry.path()?));
        } else if !entry.unpack_in(folder)? {
            local::note(&format!("left out, not below the folder: {:?}", entry.path()?));
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

/// Hands pieces on, as fast as they are taken.
struct PipeWriter(mpsc::Sender<io::Result<Bytes>>);

impl Write for PipeWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = Bytes::copy_from_slice(bytes);
        self.0.blocking_send(Ok(piece)).map_err(|_| io::ErrorKind::BrokenPipe)?;
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

    /// A folder with a large file in it.
    fn folder(size: usize) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("sub")).unwrap();
        std::fs::write(folder.path().join("sub/large"), vec![7; size]).unwrap();
        folder
    }

    #[tokio::test]
    async fn a_folder_is_sent_while_it_is_packed() {
        let (from, to) = (folder(20 << 20), tempfile::tempdir().unwrap());
        let (sender, pieces) = mpsc::channel(PENDING);
        let packing = spawn_blocking(move || pack(from.path(), sender).map(|()| from));
        let body = streaming(pieces).await.unwrap();
        let mut parts = body.into_data_stream();
        let first = parts.next().await.unwrap().unwrap();
        assert!(first.len() <= PIECE && !packing.is_finished(), "it waits for who takes it");
        let parts = futures::stream::iter([Ok(first)]).chain(parts).map_err(io::Error::other);
        let target = to.path().to_owned();
        through_channel(parts, move |reader| unpack(reader, &target)).await.unwrap();
        packing.await.unwrap().unwrap();
        assert_eq!(std::fs::metadata(to.path().join("sub/large")).unwrap().len(), 20 << 20);
    }

    #[tokio::test]
    async fn an_archive_that_is_not_whole_does_not_look_so() {
        let (sender, pieces) = mpsc::channel(PENDING);
        let packing = spawn_blocking(move || pack(Path::new("/nowhere/at/all"), sender));
        let parts: Vec<_> = streaming(pieces).await.unwrap().into_data_stream().collect().await;
        assert!(parts.last().unwrap().is_err());
        assert!(packing.await.unwrap().is_err());
    }

    #[tokio::test]
    async fn packing_ends_where_nobody_takes_it() {
        let from = folder(20 << 20);
        let (sender, pieces) = mpsc::channel(PENDING);
        drop(pieces);
        assert!(spawn_blocking(move || pack(from.path(), sender)).await.unwrap().is_ok());
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
