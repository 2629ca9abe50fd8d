//! `status`, `health` and `kick`: questions to the daemon on this host.

use crate::admin;
use crate::failure::{Code, Failure, Result};
use crate::options::{Connection, Json, Kick};
use crate::output::Output;

pub(crate) fn status(options: &Json, connection: &Connection) -> Result {
    let socket = connection.status_socket()?;
    print(&admin::ask(&socket, if options.json { "json" } else { "table" })?)
}

/// Asks the daemon at its status socket, or where there is none or this user may not ask, connects
/// to it. A full daemon is healthy in both cases.
pub(crate) fn health(connection: &Connection) -> Result {
    let answer = match connection.status_socket() {
        Ok(socket) => admin::health(&socket)?,
        Err(_) => None,
    };
    match answer.as_deref().map(str::trim) {
        Some("healthy") => print("healthy\n"),
        Some(other) => {
            let text = other.strip_prefix("error: ").unwrap_or(other);
            Err(Failure::new(Code::Failed, text).into())
        }
        None => match connection.builder()?.connect() {
            Ok(mailbox) => {
                mailbox.disconnect()?;
                print("healthy: a session was opened\n")
            }
            // It answers, and to end it would end its sessions.
            Err(spread::Error::TooManySessions) => {
                print("healthy: full, the daemon rejects new sessions\n")
            }
            Err(error) => Err(error.into()),
        },
    }
}

pub(crate) fn kick(options: &Kick, connection: &Connection) -> Result {
    let kicked = admin::kick(&connection.status_socket()?, &options.client)?;
    print(&format!("kicked {kicked}\n"))
}

fn print(text: &str) -> Result {
    let mut output = Output::new();
    output.bytes(text.as_bytes())?;
    output.flush()
}
