//! Mailboxes as event sources of mio.

use std::io;
use std::os::fd::AsRawFd;

use mio::event::Source;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

use crate::{Mailbox, Receiver};

/// mio tells of what is new: after an event, receive until
/// [`try_receive`](Receiver::try_receive) has nothing more.
impl Source for Receiver {
    fn register(&mut self, on: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        SourceFd(&self.as_raw_fd()).register(on, token, interests)
    }

    fn reregister(&mut self, on: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        SourceFd(&self.as_raw_fd()).reregister(on, token, interests)
    }

    fn deregister(&mut self, on: &Registry) -> io::Result<()> {
        SourceFd(&self.as_raw_fd()).deregister(on)
    }
}

/// mio tells of what is new: after an event, receive until
/// [`try_receive`](Mailbox::try_receive) has nothing more.
impl Source for Mailbox {
    fn register(&mut self, on: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        self.receiver_mut().register(on, token, interests)
    }

    fn reregister(&mut self, on: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        self.receiver_mut().reregister(on, token, interests)
    }

    fn deregister(&mut self, on: &Registry) -> io::Result<()> {
        self.receiver_mut().deregister(on)
    }
}
