//! Why none of several daemons accepts a connection.

use std::error::Error as StdError;
use std::fmt;

use crate::Error;
use crate::texts::Place;

/// The daemons that were tried, each with the error of its attempt; see
/// [`Error::NoDaemon`].
///
/// Its text has all errors with their causes but for the last one, which is the
/// [source](StdError::source). So whoever prints the chain, as `anyhow`'s `{:#}` does, prints
/// each of them once.
#[derive(Debug)]
pub struct ConnectFailures(Vec<(String, Error)>);

impl ConnectFailures {
    /// Returns the addresses as they were given, at least two, and their errors, in the order in
    /// which they were tried.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Error)> {
        self.0.iter().map(|(address, error)| (address.as_str(), error))
    }

    /// Returns the error of the daemon that was tried last.
    pub fn last(&self) -> Option<&Error> {
        self.0.last().map(|(_, error)| error)
    }
}

impl fmt::Display for ConnectFailures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "none of {} daemons accepts a connection: ", self.0.len())?;
        let Some((last, others)) = self.0.split_last() else {
            return Ok(());
        };
        for (address, error) in others {
            if !error.names_daemon() {
                write!(f, "{}: ", Place(address))?;
            }
            write!(f, "{error}")?;
            let mut cause = error.source();
            while let Some(next) = cause {
                write!(f, ": {next}")?;
                cause = next.source();
            }
            f.write_str("; ")?;
        }
        match last {
            (_, error) if error.names_daemon() => f.write_str("and finally"),
            (address, _) => write!(f, "and finally {}", Place(address)),
        }
    }
}

impl StdError for ConnectFailures {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.last().map(|error| error as _)
    }
}

/// The failures so far of a connect.
#[derive(Debug, Default)]
pub(crate) struct Tried(Vec<(String, Error)>);

impl Tried {
    /// Takes note of a daemon that cannot be reached; returns an error that ends the connect.
    pub(crate) fn add(&mut self, address: &str, error: Error) -> Result<(), Error> {
        if !error.is_retryable() {
            return Err(error);
        }
        self.0.push((address.to_owned(), error));
        Ok(())
    }

    /// Returns the error of a connect that has tried all daemons.
    pub(crate) fn into_error(mut self) -> Error {
        match self.0.len() {
            0 | 1 => self.0.pop().map_or_else(Error::closed, |(_, error)| error),
            _ => Error::NoDaemon(ConnectFailures(self.0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn refused(address: &str, cause: &'static str) -> Error {
        Error::Refused { address: address.to_owned(), source: io::Error::other(cause) }
    }

    #[test]
    fn one_daemon_has_its_own_error() {
        let mut tried = Tried::default();
        tried.add("1@a", refused("1@a", "first")).unwrap();
        assert!(matches!(tried.into_error(), Error::Refused { .. }));
    }

    #[test]
    fn a_rejection_has_the_last_word() {
        let mut tried = Tried::default();
        tried.add("1@a", refused("1@a", "first")).unwrap();
        let rejected = Error::NameInUse { name: "me".to_owned(), address: "2@b".to_owned() };
        assert!(matches!(tried.add("2@b", rejected), Err(Error::NameInUse { .. })));
    }

    #[test]
    fn each_daemon_has_its_error_and_its_cause_once_in_the_chain() {
        let mut tried = Tried::default();
        let causes = ["first", "second", "third"];
        for (address, cause) in ["1@a", "2@b", "3@c"].into_iter().zip(causes) {
            tried.add(address, refused(address, cause)).unwrap();
        }
        tried.add("4@d", Error::TooManySessions).unwrap();
        let error = tried.into_error();
        let (mut text, mut cause) = (error.to_string(), error.source());
        while let Some(next) = cause {
            text += &format!(": {next}");
            cause = next.source();
        }
        for cause in causes.into_iter().chain(["no more sessions", "1@a", "2@b", "3@c", "4@d"]) {
            assert_eq!(text.matches(cause).count(), 1, "{cause} in {text}");
        }
        assert!(!text.contains("?:"), "{text}");
        assert!(error.is_retryable() && !error.is_closed());
        assert_eq!(error.code(), Error::TooManySessions.code(), "that of the last one");
        let Error::NoDaemon(failures) = &error else { panic!("{error:?}") };
        let addresses: Vec<_> = failures.iter().map(|(address, _)| address).collect();
        assert_eq!(addresses, ["1@a", "2@b", "3@c", "4@d"]);
    }
}
