//! Telling a daemon who one is.

use std::fmt;
use std::io::{self, Read, Write};
use std::os::fd::BorrowedFd;
use std::time::Instant;

use crate::sys;

/// An authentication method, for [`Builder::authenticate`](crate::Builder::authenticate):
/// the client's part of an exchange that the daemon knows by a name.
///
/// Most daemons permit `NULL`, which is what a connection uses without one of
/// these and exchanges nothing.
///
/// ```
/// use std::io::{self, Read, Write};
///
/// use spread::{AuthStream, Authenticator};
///
/// /// Answers a challenge of 8 bytes with the same backwards.
/// #[derive(Debug)]
/// struct Backwards;
///
/// impl Authenticator for Backwards {
///     fn method(&self) -> &str {
///         "BACK"
///     }
///
///     fn authenticate(&self, daemon: &mut AuthStream<'_>) -> io::Result<()> {
///         let mut challenge = [0; 8];
///         daemon.read_exact(&mut challenge)?;
///         challenge.reverse();
///         daemon.write_all(&challenge)
///     }
/// }
/// ```
pub trait Authenticator: fmt::Debug + Send + Sync {
    /// The name that the daemon knows the method by: 1 to 29 bytes, no blank.
    fn method(&self) -> &str;

    /// Does the client's part.
    ///
    /// # Errors
    ///
    /// What the stream returns, or an error of its own to give up: the connect
    /// then fails with [`Error::Authentication`](crate::Error::Authentication).
    fn authenticate(&self, daemon: &mut AuthStream<'_>) -> io::Result<()>;
}

/// The method `PWORD`: a user name of at most 31 bytes and a password of at most
/// 8. They go over the wire as they are.
#[derive(Clone)]
pub struct UserPassword {
    user: String,
    password: String,
}

/// Bytes of the user name and of the password on the wire.
const USER_LEN: usize = 32;
const PASSWORD_LEN: usize = 8;

impl UserPassword {
    /// The credentials of a user, which are checked when they are used.
    pub fn new(user: impl Into<String>, password: impl Into<String>) -> UserPassword {
        UserPassword { user: user.into(), password: password.into() }
    }
}

impl fmt::Debug for UserPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserPassword").field("user", &self.user).finish_non_exhaustive()
    }
}

impl Authenticator for UserPassword {
    fn method(&self) -> &str {
        "PWORD"
    }

    fn authenticate(&self, daemon: &mut AuthStream<'_>) -> io::Result<()> {
        let mut message = [0; USER_LEN + PASSWORD_LEN];
        let (user, password) = (self.user.as_bytes(), self.password.as_bytes());
        if user.len() >= USER_LEN || password.len() > PASSWORD_LEN {
            let limits = "a user name has at most 31 bytes and a password at most 8";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, limits));
        }
        message[..user.len()].copy_from_slice(user);
        message[USER_LEN..][..password.len()].copy_from_slice(password);
        daemon.write_all(&message)?;
        let mut accepted = [0];
        daemon.read_exact(&mut accepted)?;
        if accepted == [1] {
            return Ok(());
        }
        let refused = "the daemon does not know this user with this password";
        Err(io::Error::new(io::ErrorKind::PermissionDenied, refused))
    }
}

/// The connection to the daemon during an authentication. Reading and writing
/// wait, up to the timeout of the connect.
#[derive(Debug)]
pub struct AuthStream<'a> {
    pub(crate) fd: BorrowedFd<'a>,
    pub(crate) deadline: Option<Instant>,
}

impl Read for AuthStream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        sys::read_by(self.fd, buffer, self.deadline)
    }
}

impl Write for AuthStream<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        sys::write_by(self.fd, bytes, self.deadline)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
