//! Sessions as descriptors, and as event sources of mio.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use super::{Session, SessionReceiver};

impl AsFd for SessionReceiver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.watch.as_fd()
    }
}

impl AsRawFd for SessionReceiver {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl AsFd for Session {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.receiver.as_fd()
    }
}

impl AsRawFd for Session {
    fn as_raw_fd(&self) -> RawFd {
        self.receiver.as_raw_fd()
    }
}

#[cfg(feature = "mio")]
mod source {
    use std::io;
    use std::os::fd::AsRawFd;

    use mio::event::Source;
    use mio::unix::SourceFd;
    use mio::{Interest, Registry, Token};

    use crate::{Session, SessionReceiver};

    /// mio tells of what is new: after an event, receive until
    /// [`try_receive`](SessionReceiver::try_receive) has nothing more.
    impl Source for SessionReceiver {
        fn register(&mut self, on: &Registry, token: Token, interests: Interest) -> io::Result<()> {
            SourceFd(&self.as_raw_fd()).register(on, token, interests)
        }

        fn reregister(
            &mut self,
            on: &Registry,
            token: Token,
            interests: Interest,
        ) -> io::Result<()> {
            SourceFd(&self.as_raw_fd()).reregister(on, token, interests)
        }

        fn deregister(&mut self, on: &Registry) -> io::Result<()> {
            SourceFd(&self.as_raw_fd()).deregister(on)
        }
    }

    /// mio tells of what is new: after an event, receive until
    /// [`try_receive`](Session::try_receive) has nothing more.
    impl Source for Session {
        fn register(&mut self, on: &Registry, token: Token, interests: Interest) -> io::Result<()> {
            self.receiver.register(on, token, interests)
        }

        fn reregister(
            &mut self,
            on: &Registry,
            token: Token,
            interests: Interest,
        ) -> io::Result<()> {
            self.receiver.reregister(on, token, interests)
        }

        fn deregister(&mut self, on: &Registry) -> io::Result<()> {
            self.receiver.deregister(on)
        }
    }
}
