//! Writing a file: beside its place first, then into it at once. Nobody ever sees half of it.

use std::{
    ffi::{OsStr, OsString},
    fs::{File, Permissions},
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError},
};

use axum::{
    body::Body,
    extract::{Query, State, rejection::QueryRejection},
    response::{IntoResponse, Response},
};
use berth_link::wire::{AgentProblem, files::FileQuery};
use cap_std::fs::{Dir, Metadata, MetadataExt, OpenOptions, OpenOptionsExt};
use futures::TryStreamExt;
use http::{StatusCode, header};
use tokio::io::AsyncWriteExt;
use tokio_util::io::StreamReader;

use super::{
    Files,
    condition::Condition,
    confine::{Spot, make_folders},
    off_the_loop,
    problem::{Refused, of_io, with_path},
    read::entity_tag,
};

/// Permission bits of a new file.
const USUAL_MODE: u32 = 0o644;
/// Permission bits that can be asked for.
const MODES: u32 = 0o777;

/// Takes the content of a file.
pub async fn write(
    State(files): State<Arc<Files>>,
    query: Result<Query<FileQuery>, QueryRejection>,
    body: Body,
) -> Result<Response, Refused> {
    let Query(query) = query?;
    let spot = files.places.locate(&query.path)?;
    let mode = query.mode.as_deref().map(permission_bits).transpose()?;
    let condition = Condition::from(query.if_match);
    let path = spot.path();
    let draft = off_the_loop(move || Draft::begin(&spot, mode, condition)).await?;
    let file = draft.file.try_clone().map_err(|error| of_io(&error, &path))?;
    fill(tokio::fs::File::from_std(file), body).await.map_err(|error| of_io(&error, &path))?;
    let tag = off_the_loop(move || {
        let _turn = files.turn.lock().unwrap_or_else(PoisonError::into_inner);
        draft.finish()
    });
    Ok((StatusCode::NO_CONTENT, [(header::ETAG, tag.await?)]).into_response())
}

async fn fill(mut file: tokio::fs::File, body: Body) -> io::Result<()> {
    let content = body.into_data_stream().map_err(io::Error::other);
    tokio::io::copy(&mut StreamReader::new(content), &mut file).await?;
    file.flush().await
}

fn permission_bits(digits: &str) -> Result<u32, AgentProblem> {
    let bits = u32::from_str_radix(digits, 8).ok().filter(|bits| *bits <= MODES);
    bits.ok_or_else(|| AgentProblem::new("Invalid", "mode: octal digits, 0 to 777"))
}

/// Content that is not in its place yet. It is gone when it never gets there.
struct Draft {
    folder: Dir,
    name: OsString,
    beside: String,
    file: File,
    mode: Option<u32>,
    condition: Condition,
    path: PathBuf,
}

impl Draft {
    fn begin(spot: &Spot, mode: Option<u32>, condition: Condition) -> Result<Self, AgentProblem> {
        let path = spot.path();
        let problem = |error| of_io(&error, &path);
        let root = spot.open_root()?;
        let way = followed(&root, spot.way()).map_err(problem)?;
        let name = way.file_name().ok_or_else(|| with_path("NotAFile", "that is a folder", &path))?;
        let parent = way.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        condition.check(look(&root, way.as_os_str()).map_err(problem)?.as_ref(), &path)?;
        make_folders(&root, parent).map_err(problem)?;
        let folder = root.open_dir(parent).map_err(problem)?;
        let beside = format!(".berth-{:032x}", rand::random::<u128>());
        let mut options = OpenOptions::new();
        let options = options.write(true).create_new(true).mode(0o600);
        let file = folder.open_with(&beside, options).map_err(problem)?.into_std();
        Ok(Self { name: name.to_owned(), folder, beside, file, mode, condition, path })
    }

    /// Puts the content into its place, and tells its entity tag. One after the other, so that
    /// nothing comes between condition and deed.
    fn finish(self) -> Result<String, AgentProblem> {
        let problem = |error| of_io(&error, &self.path);
        let old = look(&self.folder, &self.name).map_err(problem)?;
        self.condition.check(old.as_ref(), &self.path)?;
        let kept = old.filter(Metadata::is_file).map(|old| old.mode() & 0o7777);
        let mode = self.mode.or(kept).unwrap_or(USUAL_MODE);
        self.file.set_permissions(Permissions::from_mode(mode)).map_err(problem)?;
        if self.condition == Condition::Absent {
            // Unlike a rename, a link never replaces what somebody else just made.
            let linked = self.folder.hard_link(&self.beside, &self.folder, &self.name);
            linked.map_err(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => self.condition.failed(&self.path),
                _ => problem(error),
            })?;
            self.folder.remove_file(&self.beside).map_err(problem)?;
        } else {
            self.folder.rename(&self.beside, &self.folder, &self.name).map_err(problem)?;
        }
        let metadata = Metadata::from_file(&self.file).map_err(problem)?;
        Ok(entity_tag(&metadata))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        let _ = self.folder.remove_file(&self.beside);
    }
}

/// The same way, where it ends with a symbolic link that of what it points to: a link stays one.
fn followed(root: &Dir, way: &Path) -> io::Result<PathBuf> {
    match root.canonicalize(way) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(way.to_owned()),
        followed => followed,
    }
}

/// What is in a place, if anything.
fn look(folder: &Dir, name: &OsStr) -> io::Result<Option<Metadata>> {
    match folder.symlink_metadata(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        found => found.map(Some),
    }
}
