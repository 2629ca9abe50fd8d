//! Registering descriptors with the runtime of tokio.

use std::io;
use std::ops::Deref;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::generation;

/// A descriptor that a runtime watches.
///
/// In the child of a fork, dropping it leaves the runtime alone: the parent shares it and
/// would no longer be told of events.
#[derive(Debug)]
pub struct Registered {
    /// `None` only during the drop.
    registered: Option<AsyncFd<Watched>>,
    generation: u32,
    /// Dropped after the registration.
    fd: Arc<OwnedFd>,
}

/// The number of a descriptor that its [`Registered`] keeps open.
#[derive(Debug)]
pub struct Watched(RawFd);

impl Registered {
    /// Registers a descriptor with the runtime of the calling task.
    ///
    /// # Errors
    ///
    /// The runtime cannot take the descriptor.
    ///
    /// # Panics
    ///
    /// Outside a runtime, or in one whose I/O is not enabled.
    pub fn new(fd: Arc<OwnedFd>, interest: Interest) -> io::Result<Registered> {
        let watched = Watched(fd.as_fd().as_raw_fd());
        // SAFETY: the descriptor is open and stays the same one, because `fd` owns it and
        // is dropped after the registration.
        let registered = unsafe { AsyncFd::register_with_interest(watched, interest) }?;
        Ok(Registered { registered: Some(registered), generation: generation(), fd })
    }
}

impl Deref for Registered {
    type Target = AsyncFd<Watched>;

    fn deref(&self) -> &AsyncFd<Watched> {
        self.registered.as_ref().expect("only the drop takes it")
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let registered = self.registered.take();
        if generation() != self.generation {
            std::mem::forget(registered);
        }
    }
}

impl AsRawFd for Watched {
    fn as_raw_fd(&self) -> RawFd {
        self.0
    }
}

impl AsFd for Registered {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
