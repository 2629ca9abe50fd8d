//! Where there is no epoll(7), a session has no descriptor.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Instant;

#[derive(Debug)]
pub(super) struct Watch;

impl Watch {
    pub(super) fn new(_news: BorrowedFd<'_>) -> io::Result<Watch> {
        Ok(Watch)
    }

    pub(super) fn add(&self, _fd: BorrowedFd<'_>) -> io::Result<()> {
        Ok(())
    }

    pub(super) fn enable(&self, _fd: BorrowedFd<'_>) -> io::Result<()> {
        Ok(())
    }

    pub(super) fn remove(&self, _fd: BorrowedFd<'_>) {}

    pub(super) fn set_time(&self, _time: Option<Instant>) -> io::Result<()> {
        Ok(())
    }
}
