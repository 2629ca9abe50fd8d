//! The files of unix sockets: who may make them, and their removal.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mio::net::UnixStream;
use rustix::fs::{FlockOperation, Mode, OFlags, flock, fstat, open};
use rustix::io::Errno;
use rustix::process::geteuid;

use crate::error::StartError;

/// The right to the socket files of a port in a folder: a lock on the file `PORT.lock`
/// beside them, which the system releases when the process ends, however it ends. Dropping
/// it removes the file, unless another one is in its place.
///
/// Only the user of the daemon can open the file: whoever can could wait for the lock, and would
/// have it as soon as the daemon ends.
#[derive(Debug)]
pub(crate) struct Lock {
    path: PathBuf,
    identity: (u64, u64),
    _file: OwnedFd,
}

impl Lock {
    /// Takes the lock of a daemon with this socket file.
    ///
    /// # Errors
    ///
    /// [`StartError::SocketInUse`] if a daemon has it; [`StartError::Locked`] if another program
    /// has it, or a daemon that is about to listen.
    pub(crate) fn take(socket: &Path) -> Result<Arc<Lock>, StartError> {
        let path = socket.with_extension("lock");
        let error =
            |e: Errno| StartError::io(format!("lock the file {}", path.display()), e.into());
        loop {
            let (file, is_new) = open_lock(&path).map_err(error)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Err(Errno::WOULDBLOCK) if is_socket(socket) && is_answered(socket) => {
                    return Err(StartError::SocketInUse { path: socket.into() });
                }
                Err(Errno::WOULDBLOCK) => return Err(StartError::Locked { path }),
                locked => locked.map_err(error)?,
            }
            let stat = fstat(&file).map_err(error)?;
            // Its last owner may have removed it between the two calls.
            let locked = (stat.st_dev, stat.st_ino);
            if !identity(&path).is_ok_and(|found| found == locked) {
                continue;
            }
            let is_ours = stat.st_uid == geteuid().as_raw() && stat.st_mode & 0o077 == 0;
            // Some file systems show another owner or other rights than it was made with.
            if is_new || is_ours {
                return Ok(Arc::new(Lock { path, identity: locked, _file: file }));
            }
            // Left behind by a daemon of another user, or one that let others open it.
            fs::remove_file(&path).map_err(|e| {
                StartError::io(format!("replace {}, which others can lock", path.display()), e)
            })?;
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        remove(&self.path, self.identity);
    }
}

/// Opens a file to lock it, and returns whether it is new; no link is followed.
fn open_lock(path: &Path) -> Result<(OwnedFd, bool), Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    loop {
        match open(path, flags, Mode::empty()) {
            Err(Errno::NOENT) => {}
            opened => return Ok((opened?, false)),
        }
        match open(path, flags | OFlags::CREATE | OFlags::EXCL, Mode::RUSR | Mode::WUSR) {
            Err(Errno::EXIST) => {}
            made => return Ok((made?, true)),
        }
    }
}

/// A socket file of ours; dropping it removes it, unless another program has put
/// its own in the place.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
    /// Released after the file has been removed.
    _lock: Arc<Lock>,
}

impl SocketFile {
    pub(crate) fn new(path: &Path, lock: &Arc<Lock>) -> Result<SocketFile, StartError> {
        let identity = identity(path)
            .map_err(|e| StartError::io(format!("look at the file {}", path.display()), e))?;
        Ok(SocketFile { path: path.into(), identity, _lock: Arc::clone(lock) })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        remove(&self.path, self.identity);
    }
}

/// Removes a file, unless another one is in its place.
fn remove(path: &Path, of: (u64, u64)) {
    if identity(path).is_ok_and(|found| found == of)
        && let Err(error) = fs::remove_file(path)
    {
        tracing::warn!(%error, "cannot remove {}", path.display());
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

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn only_its_user_can_open_the_file_of_a_lock_also_after_a_daemon_whose_file_all_could() {
        let folder = tempfile::tempdir().unwrap();
        let (socket, path) = (folder.path().join("1"), folder.path().join("1.lock"));
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        let lock = Lock::take(&socket).unwrap();
        assert_eq!(mode(), 0o600);
        drop(lock);
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        // As another user that waits for the lock.
        let open = fs::File::open(&path).unwrap();
        let lock = Lock::take(&socket).unwrap();
        assert_eq!(mode(), 0o600);
        flock(&open, FlockOperation::NonBlockingLockExclusive).unwrap();
        drop(lock);
        Lock::take(&socket).unwrap();
    }

    #[test]
    fn a_lock_without_a_daemon_is_told_as_one() {
        let folder = tempfile::tempdir().unwrap();
        let (socket, path) = (folder.path().join("1"), folder.path().join("1.lock"));
        let held = fs::File::create(&path).unwrap();
        flock(&held, FlockOperation::NonBlockingLockExclusive).unwrap();
        let error = Lock::take(&socket).unwrap_err();
        assert!(matches!(&error, StartError::Locked { path: told } if *told == path), "{error}");
    }

    #[test]
    fn a_lock_removes_its_own_file_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let (socket, path) = (folder.path().join("1"), folder.path().join("1.lock"));
        let lock = Lock::take(&socket).unwrap();
        drop(lock);
        assert!(!path.exists());
        let lock = Lock::take(&socket).unwrap();
        fs::remove_file(&path).unwrap();
        let other = Lock::take(&socket).unwrap();
        drop(lock);
        assert!(path.exists(), "the file of the other lock is gone");
        drop(other);
        assert!(!path.exists());
    }
}
