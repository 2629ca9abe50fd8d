//! The commands beside running a daemon: questions to one that runs, and passwords.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use spread_daemon::Passwords;

use crate::options::At;
use crate::plan::Outcome;

/// After this long a daemon is not going to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks a daemon for `table`, `json` or `health`.
pub(crate) fn ask(at: &At, what: &str) -> Outcome<String> {
    let path = at.unix_dir.join(format!("{}.status", at.port));
    let answer = || {
        let mut stream = UnixStream::connect(&path)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        writeln!(stream, "{what}")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        if answer.is_empty() {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        Ok(answer)
    };
    answer().map_err(|e: io::Error| format!("no daemon answers at {}: {e}", path.display()).into())
}

/// Sets the password of a user in a file.
pub(crate) fn set_password(file: &Path, user: &str) -> Outcome<()> {
    let mut passwords = if file.exists() { Passwords::load(file)? } else { Passwords::default() };
    let mut line = String::new();
    io::stdin().read_line(&mut line)?;
    passwords.set(user, line.trim_end_matches(['\r', '\n']))?;
    Ok(passwords.save(file)?)
}
