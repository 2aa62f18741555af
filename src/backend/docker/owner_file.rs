//! The owner's mark inside a container: a file of root's, put there before the first start.

use std::io::{self, Read};

use bollard::query_parameters::{DownloadFromContainerOptionsBuilder, UploadToContainerOptionsBuilder};
use futures::{StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};

use super::{
    errors,
    host::{Host, LOOK},
};
use crate::backend::{BackendError, BodyRef, Incarnation, Owner};

const PATH: &str = "etc/berth/owner";
/// The inside of a container is the tenant's: it may have put anything in this place.
const LIMIT: usize = 64 << 10;

/// What stands in the file.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct OwnerFile {
    /// The operator that made the container.
    pub(super) instance: String,
    /// The body.
    pub(super) id: String,
    /// Which container of it.
    pub(super) incarnation: u32,
    /// Whose it is.
    #[serde(flatten)]
    pub(super) owner: Owner,
}

/// Puts the mark into a container that was just made.
pub(super) async fn write(
    host: &Host,
    container: &str,
    body: &BodyRef,
    incarnation: Incarnation,
) -> Result<(), BackendError> {
    let file = OwnerFile {
        instance: host.instance.to_string(),
        id: body.id.to_string(),
        incarnation: incarnation.0,
        owner: body.owner.clone(),
    };
    let archive =
        pack(&file).map_err(|error| errors::from_docker(&host.name, "mark the owner", &error.into()))?;
    let options = UploadToContainerOptionsBuilder::new().path("/").build();
    let upload =
        host.docker.upload_to_container(container, Some(options), bollard::body_full(archive.into()));
    host.call("mark the owner", LOOK, upload).await
}

/// Reads the mark of a container, running or not. `None` when there is none, or nonsense.
pub(super) async fn read(host: &Host, container: &str) -> Result<Option<OwnerFile>, BackendError> {
    let options = DownloadFromContainerOptionsBuilder::new().path(&format!("/{PATH}")).build();
    let download = async {
        let mut archive = Vec::new();
        let mut chunks = host.docker.download_from_container(container, Some(options)).boxed();
        while let Some(chunk) = chunks.try_next().await? {
            archive.extend_from_slice(&chunk);
            if archive.len() > LIMIT {
                break;
            }
        }
        Ok(archive)
    };
    match host.try_call("read the owner", LOOK, download).await? {
        Ok(archive) => Ok(unpack(&archive)),
        Err(error) if errors::is_not_found(&error) => Ok(None),
        Err(error) => Err(errors::from_docker(&host.name, "read the owner", &error)),
    }
}

fn pack(file: &OwnerFile) -> io::Result<Vec<u8>> {
    let content = serde_json::to_vec(file)?;
    let mut archive = tar::Builder::new(Vec::new());
    let mut folder = tar::Header::new_gnu();
    folder.set_entry_type(tar::EntryType::Directory);
    folder.set_mode(0o755);
    folder.set_size(0);
    archive.append_data(&mut folder, "etc/berth/", io::empty())?;
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    header.set_size(content.len().try_into().map_err(io::Error::other)?);
    archive.append_data(&mut header, PATH, content.as_slice())?;
    archive.into_inner()
}

fn unpack(archive: &[u8]) -> Option<OwnerFile> {
    let mut archive = tar::Archive::new(archive);
    let mut entry = archive.entries().ok()?.next()?.ok()?;
    if !entry.header().entry_type().is_file() {
        return None;
    }
    let mut content = Vec::new();
    entry.by_ref().take(LIMIT.try_into().ok()?).read_to_end(&mut content).ok()?;
    serde_json::from_slice(&content).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_mark_survives_its_archive() {
        let owner = Owner { namespace: "team".into(), name: "web".into(), uid: "7".into() };
        let file = OwnerFile { instance: "i".into(), id: "0011223344556677".into(), incarnation: 3, owner };
        let archive = pack(&file).unwrap();
        // The first entry is the folder; Docker hands out the file alone.
        assert_eq!(unpack(&archive), None);
        assert_eq!(unpack(&archive[512..]), Some(file));
    }

    proptest! {
        #[test]
        fn nonsense_is_no_mark(archive in proptest::collection::vec(any::<u8>(), 0..2048)) {
            prop_assert_eq!(unpack(&archive), None);
        }
    }
}
