//! Telling a daemon who one is.

use std::fmt;
use std::io;

pub use spread_core::{AuthExchange, AuthStep};

/// An authentication method, for [`Builder::authenticate`](crate::Builder::authenticate):
/// the client's part of an exchange that the daemon knows by a name.
///
/// It is a sequence of steps without I/O, so that it serves blocking and async connects
/// alike. Most daemons permit `NULL`, which is what a connection uses without one of these
/// and exchanges nothing.
///
/// ```
/// use std::io;
///
/// use spread::{AuthStep, Authenticator, AuthExchange};
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
///     fn begin(&self) -> Box<dyn AuthExchange> {
///         Box::new(Challenge::Awaited)
///     }
/// }
///
/// enum Challenge {
///     Awaited,
///     Asked,
///     Answered,
/// }
///
/// impl AuthExchange for Challenge {
///     fn next(&mut self, received: &[u8]) -> io::Result<AuthStep> {
///         let (state, step) = match self {
///             Challenge::Awaited => (Challenge::Asked, AuthStep::Receive(8)),
///             Challenge::Asked => {
///                 let answer = received.iter().rev().copied().collect();
///                 (Challenge::Answered, AuthStep::Send(answer))
///             }
///             Challenge::Answered => (Challenge::Answered, AuthStep::Done),
///         };
///         *self = state;
///         Ok(step)
///     }
/// }
/// ```
pub trait Authenticator: fmt::Debug + Send + Sync {
    /// The name that the daemon knows the method by: 1 to 29 bytes, no blank.
    fn method(&self) -> &str;

    /// Begins the exchange of a connect.
    fn begin(&self) -> Box<dyn AuthExchange>;
}

/// The method `PWORD`: a user name of at most 31 bytes and a password of at most 8. They go
/// over the wire as they are.
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

    /// The credentials as they go over the wire.
    fn encode(&self) -> io::Result<Vec<u8>> {
        let (user, password) = (self.user.as_bytes(), self.password.as_bytes());
        if user.len() >= USER_LEN || password.len() > PASSWORD_LEN {
            let limits = "a user name has at most 31 bytes and a password at most 8";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, limits));
        }
        let mut message = vec![0; USER_LEN + PASSWORD_LEN];
        message[..user.len()].copy_from_slice(user);
        message[USER_LEN..][..password.len()].copy_from_slice(password);
        Ok(message)
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

    fn begin(&self) -> Box<dyn AuthExchange> {
        Box::new(Login::Begun(self.clone()))
    }
}

enum Login {
    Begun(UserPassword),
    Sent,
    Asked,
}

impl AuthExchange for Login {
    fn next(&mut self, received: &[u8]) -> io::Result<AuthStep> {
        match self {
            Login::Begun(user) => {
                let step = AuthStep::Send(user.encode()?);
                *self = Login::Sent;
                Ok(step)
            }
            Login::Sent => {
                *self = Login::Asked;
                Ok(AuthStep::Receive(1))
            }
            Login::Asked if received == [1] => Ok(AuthStep::Done),
            Login::Asked => {
                let refused = "the daemon does not know this user with this password";
                Err(io::Error::new(io::ErrorKind::PermissionDenied, refused))
            }
        }
    }
}
