//! Files that have secrets, and who can read them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Returns a remark on a file with a secret, such as a private key, that all users of the host can
/// read. That a file cannot be looked at is for those to tell who read it.
pub(crate) fn readable_by_all(what: &str, file: &Path) -> Option<String> {
    let mode = fs::metadata(file).ok()?.permissions().mode();
    let file = file.display();
    (mode & 0o004 != 0).then(|| format!("all users can read {what} in {file}: chmod o= {file}"))
}
