//! Waits for a queue that is not empty to grow.
//!
//! `poll(2)` cannot: it reports the bytes that are there already. This is for
//! a header of which only a part has come, which is rare; a body that is still
//! on its way is simply read.

use std::io;
use std::os::fd::BorrowedFd;

pub(crate) use imp::Arrivals;

#[cfg(any(target_os = "linux", target_os = "android"))]
mod imp {
    use super::*;
    use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

    /// An edge-triggered epoll instance with one descriptor.
    pub(crate) struct Arrivals {
        epoll: OwnedFd,
    }

    impl Arrivals {
        /// Notes all that arrives at `fd` from now on.
        pub(crate) fn at(fd: BorrowedFd<'_>) -> io::Result<Arrivals> {
            // SAFETY: takes no pointers.
            let epoll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
            if epoll < 0 {
                return Err(io::Error::last_os_error());
            }
            // SAFETY: the descriptor was just opened, and is no one else's.
            let epoll = unsafe { OwnedFd::from_raw_fd(epoll) };
            let events = libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLET;
            let mut event = libc::epoll_event { events: events as u32, u64: 0 };
            // SAFETY: both descriptors are open, the event is read only.
            let added = unsafe {
                libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, fd.as_raw_fd(), &mut event)
            };
            if added < 0 { Err(io::Error::last_os_error()) } else { Ok(Arrivals { epoll }) }
        }

        /// Waits until something has arrived since the last call; the first
        /// call may return at once. Tells whether nothing more can come.
        pub(crate) fn wait(&self) -> io::Result<bool> {
            let mut event = libc::epoll_event { events: 0, u64: 0 };
            loop {
                // SAFETY: there is room for the one event asked for.
                let count = unsafe { libc::epoll_wait(self.epoll.as_raw_fd(), &mut event, 1, -1) };
                if count > 0 {
                    let end = libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR;
                    return Ok(event.events & end as u32 != 0);
                }
                let error = io::Error::last_os_error();
                if count < 0 && error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod imp {
    use super::*;
    use std::os::fd::AsRawFd;

    /// Naps between looks.
    pub(crate) struct Arrivals<'a> {
        fd: BorrowedFd<'a>,
    }

    const NAP_MILLIS: i32 = 1;

    impl Arrivals<'_> {
        pub(crate) fn at(fd: BorrowedFd<'_>) -> io::Result<Arrivals<'_>> {
            Ok(Arrivals { fd })
        }

        pub(crate) fn wait(&self) -> io::Result<bool> {
            let mut poll = libc::pollfd { fd: self.fd.as_raw_fd(), events: 0, revents: 0 };
            // SAFETY: there is the one descriptor announced.
            unsafe { libc::poll(&mut poll, 1, NAP_MILLIS) };
            Ok(poll.revents & (libc::POLLHUP | libc::POLLERR) != 0)
        }
    }
}
