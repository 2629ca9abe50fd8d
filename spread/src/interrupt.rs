//! Waking a receive from another thread.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

/// Ends a receive that waits, from any thread; made by
/// [`Receiver::interrupter`](crate::Receiver::interrupter).
///
/// ```
/// # let daemon = spread_daemon::Daemon::builder().start()?;
/// # let address = daemon.address();
/// use spread::{Error, Mailbox};
///
/// let mut mailbox = Mailbox::connect(address)?;
/// let interrupter = mailbox.interrupter()?;
/// let waiting = std::thread::spawn(move || mailbox.receive());
/// interrupter.interrupt();
/// assert!(matches!(waiting.join().unwrap(), Err(Error::Interrupted)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Interrupter(Arc<UnixStream>);

impl Interrupter {
    /// Has the receive that waits now, or else the next one that would, return
    /// [`Error::Interrupted`](crate::Error::Interrupted).
    ///
    /// Nothing is lost by it. To interrupt several times before a receive takes
    /// notice is to interrupt once.
    pub fn interrupt(&self) {
        // It fails when full, and then a wake-up is under way, or when the
        // receiver is gone, and then there is nobody to wake.
        let _ = (&*self.0).write(&[0]);
    }
}

/// The other end of all interrupters of a connection.
#[derive(Debug)]
pub(crate) struct Wake {
    stream: UnixStream,
    interrupter: Interrupter,
}

impl Wake {
    pub(crate) fn new() -> io::Result<Wake> {
        let (stream, interrupter) = UnixStream::pair()?;
        stream.set_nonblocking(true)?;
        interrupter.set_nonblocking(true)?;
        Ok(Wake { stream, interrupter: Interrupter(Arc::new(interrupter)) })
    }

    pub(crate) fn interrupter(&self) -> Interrupter {
        self.interrupter.clone()
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// Takes note of all interrupts so far; `false` if there was none.
    pub(crate) fn take(&self) -> bool {
        let mut interrupts = [0; 64];
        let mut any = false;
        while matches!((&self.stream).read(&mut interrupts), Ok(count) if count > 0) {
            any = true;
        }
        any
    }
}
