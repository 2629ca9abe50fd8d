//! The files of unix sockets, and their removal.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use mio::net::UnixStream;

use crate::error::StartError;

/// A socket file of ours; dropping it removes it, unless another daemon has put
/// its own in the place.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl SocketFile {
    pub(crate) fn new(path: &Path) -> Result<SocketFile, StartError> {
        let identity = identity(path)
            .map_err(|e| StartError::io(format!("look at the file {}", path.display()), e))?;
        Ok(SocketFile { path: path.into(), identity })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|found| found == self.identity)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(%error, "cannot remove {}", self.path.display());
        }
    }
}

/// Returns the identity of a file beside its name: the device and the number on it.
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let file = fs::symlink_metadata(path)?;
    Ok((file.dev(), file.ino()))
}

pub(crate) fn is_socket(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket())
}

/// Returns whether a daemon listens at the file. One that is too busy to take the
/// connection is there all the same; only a refusal tells that nobody is.
pub(crate) fn is_answered(path: &Path) -> bool {
    match UnixStream::connect(path) {
        Ok(_) => true,
        Err(e) => e.kind() != ErrorKind::ConnectionRefused,
    }
}
