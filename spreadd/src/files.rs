//! Files that the options and the configuration name.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use crate::plan::Outcome;

/// Reads a file.
pub(crate) fn read(path: &Path) -> Outcome<Vec<u8>> {
    refuse_fifo(path)?;
    Ok(fs::read(path).map_err(|e| format!("cannot read {}: {e}", path.display()))?)
}

/// Refuses a FIFO: opening it would wait for the program at its other end. A pipe that a descriptor
/// such as `/dev/stderr` leads to is open already, and has no name.
pub(crate) fn refuse_fifo(path: &Path) -> Outcome<()> {
    let is_fifo = fs::symlink_metadata(linked(path)).is_ok_and(|file| file.file_type().is_fifo());
    if is_fifo {
        return Err(format!("{} is no regular file", path.display()).into());
    }
    Ok(())
}

/// Returns the file that symbolic links lead to, which may not be there.
pub(crate) fn linked(path: &Path) -> PathBuf {
    // As many links as Linux follows.
    const MAX_LINKS: usize = 40;
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        let Ok(target) = fs::read_link(&path) else { break };
        path = path.parent().unwrap_or(Path::new("")).join(target);
    }
    path
}
