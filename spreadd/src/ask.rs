//! The commands beside running a daemon: questions to one that runs, and passwords.

use std::io::{self, ErrorKind, IsTerminal, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use spread_daemon::Passwords;

use crate::options::At;
use crate::plan::Outcome;

/// After this long a daemon is not going to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks a daemon for `table`, `json` or `health`, or for `kick NAME`.
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
    let answer = answer().map_err(|e: io::Error| match e.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => {
            let (path, seconds) = (path.display(), PATIENCE.as_secs());
            format!("no answer within {seconds} s at {path}: the daemon is stopped or overloaded")
        }
        _ => format!("no daemon answers at {}: {e}", path.display()),
    })?;
    match answer.strip_prefix("error: ") {
        Some(error) => Err(error.trim_end().into()),
        None => Ok(answer),
    }
}

/// Sets the password of a user in a file.
pub(crate) fn set_password(file: &Path, user: &str) -> Outcome<()> {
    // What is wrong with the file is told before the password is asked for.
    if file.exists() {
        Passwords::load(file)?;
    }
    let password = match io::stdin().is_terminal() {
        true => {
            let password =
                rpassword::prompt_password(format!("Password of {user}: ")).map_err(unread)?;
            if password.is_empty() {
                return Err("the password is empty; nothing was changed".into());
            }
            if rpassword::prompt_password("Again: ")? != password {
                return Err("the two passwords differ".into());
            }
            password
        }
        false => {
            let mut line = String::new();
            io::stdin().read_line(&mut line).map_err(unread)?;
            let password = line.trim_end_matches(['\r', '\n']).to_owned();
            if password.is_empty() {
                let text = "the first line of the standard input, the password, is empty; nothing \
                            was changed";
                return Err(text.into());
            }
            password
        }
    };
    Passwords::edit(file, |passwords| Ok(passwords.set(user, &password)?))
}

/// Returns the error of a password that cannot be read.
fn unread(error: io::Error) -> String {
    match error.kind() {
        ErrorKind::InvalidData => "the password is not UTF-8; nothing was changed".to_owned(),
        _ => format!("cannot read the password: {error}"),
    }
}

/// Takes the users of another file over into a file; returns a line for those whose passwords
/// were replaced. Without `force` there must be none.
pub(crate) fn import_passwords(file: &Path, other: &Path, force: bool) -> Outcome<String> {
    let others = Passwords::load(other)?;
    let replaced = Passwords::edit(file, |passwords| {
        let replaced = passwords.import(&others).join(" ");
        match replaced.is_empty() || force {
            true => Outcome::Ok(replaced),
            false => Err(format!(
                "nothing imported: {} has other passwords of these users: {replaced} (--force \
                 replaces them)",
                file.display()
            )
            .into()),
        }
    })?;
    Ok(match replaced.is_empty() {
        true => replaced,
        false => format!("replaced the passwords of these users: {replaced}\n"),
    })
}
