//! Waking a receive from another thread.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixDatagram;
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
pub struct Interrupter(Arc<Pair>);

/// Both ends live as long as either is used, so a write never finds its reader gone, which
/// could raise SIGPIPE.
#[derive(Debug)]
struct Pair {
    read: UnixDatagram,
    write: UnixDatagram,
    /// Of the process that made them.
    generation: u32,
}

impl Interrupter {
    /// Makes the receive that waits now, or else the next one that would wait, return
    /// [`Error::Interrupted`](crate::Error::Interrupted).
    ///
    /// No message is lost. Several interrupts before a receive notices count as one. In the
    /// child of a fork it does nothing: the receive is the parent's.
    pub fn interrupt(&self) {
        if self.0.generation == spread_os::generation() {
            // It fails only when full, and then a wake-up is under way.
            let _ = self.0.write.send(&[0]);
        }
    }
}

/// What the interrupters of a connection wake.
#[derive(Debug)]
pub(crate) struct Wake(Interrupter);

impl Wake {
    pub(crate) fn new() -> io::Result<Wake> {
        let (read, write) = UnixDatagram::pair()?;
        read.set_nonblocking(true)?;
        write.set_nonblocking(true)?;
        Ok(Wake(Interrupter(Arc::new(Pair { read, write, generation: spread_os::generation() }))))
    }

    pub(crate) fn interrupter(&self) -> Interrupter {
        self.0.clone()
    }

    /// Makes the descriptor readable.
    pub(crate) fn wake(&self) {
        self.0.interrupt();
    }

    /// Readable after a wake-up.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.0.read.as_fd()
    }

    /// Takes note of all wake-ups so far; `false` if there was none.
    pub(crate) fn take(&self) -> bool {
        let mut any = false;
        while self.0.0.read.recv(&mut [0]).is_ok() {
            any = true;
        }
        any
    }
}
