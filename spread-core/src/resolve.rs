//! Host names to addresses.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use crate::poll::{Ready, wait};

/// The look-up of a host, in a thread of its own: it cannot be interrupted, so whoever no
/// longer waits for it leaves the thread to itself.
#[derive(Debug)]
pub(crate) struct Lookup {
    found: Arc<Mutex<Option<Found>>>,
    /// Readable at the end of the thread.
    end: UnixStream,
}

/// Looks a host up, before the deadline if there is one; returns at least one address, in
/// the order of preference. The scope of an IPv6 address is kept.
///
/// # Errors
///
/// What the system says; `TimedOut` at the deadline.
pub fn resolve(host: &str, port: u16, deadline: Option<Instant>) -> io::Result<Vec<SocketAddr>> {
    if let Some(address) = literal(host, port) {
        return Ok(vec![address]);
    }
    let mut lookup = Lookup::start(host.to_owned(), port)?;
    if !wait(lookup.as_fd(), Ready::ToRead, deadline)? {
        return Err(io::ErrorKind::TimedOut.into());
    }
    let found = lookup.result().unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()))?;
    if found.is_empty() { Err(io::Error::other("the host has no address")) } else { Ok(found) }
}

type Found = io::Result<Vec<SocketAddr>>;

/// The address that a literal stands for.
pub(crate) fn literal(host: &str, port: u16) -> Option<SocketAddr> {
    host.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, port))
}

impl Lookup {
    pub(crate) fn start(host: String, port: u16) -> io::Result<Lookup> {
        Lookup::run(move || Ok((host, port).to_socket_addrs()?.collect()))
    }

    fn run(search: impl FnOnce() -> Found + Send + 'static) -> io::Result<Lookup> {
        let (end, other) = UnixStream::pair()?;
        let found = Arc::new(Mutex::new(None));
        let answer = Arc::clone(&found);
        thread::Builder::new().name("spread-resolve".to_owned()).spawn(move || {
            let result = search();
            *answer.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
            drop(answer);
            drop(other);
        })?;
        Ok(Lookup { found, end })
    }

    /// The result; `None` as long as the search goes on.
    pub(crate) fn result(&mut self) -> Option<Found> {
        let has_ended = Arc::strong_count(&self.found) == 1;
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner).take();
        found.or_else(|| has_ended.then(|| Err(io::Error::other("the look-up panicked"))))
    }

    /// Readable once there is a result.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.end.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::time::Duration;

    #[test]
    fn a_literal_address_needs_no_look_up() {
        assert_eq!(literal("::1", 4803), Some("[::1]:4803".parse().unwrap()));
        assert_eq!(literal("localhost", 4803), None);
    }

    #[test]
    fn the_descriptor_tells_when_there_is_a_result() {
        let (answer, question) = mpsc::channel();
        let mut lookup = Lookup::run(move || question.recv().map_err(io::Error::other)).unwrap();
        let soon = Instant::now() + Duration::from_millis(10);
        assert!(!wait(lookup.as_fd(), Ready::ToRead, Some(soon)).unwrap());
        assert!(lookup.result().is_none());
        answer.send(vec!["[::1]:1".parse().unwrap()]).unwrap();
        let late = Instant::now() + Duration::from_secs(20);
        assert!(wait(lookup.as_fd(), Ready::ToRead, Some(late)).unwrap());
        assert_eq!(lookup.result().unwrap().unwrap(), ["[::1]:1".parse().unwrap()]);
    }
}
