//! The descriptor of a session: the same one across connections.
//!
//! It is an epoll instance, which is readable itself whenever something in it is: the socket
//! while there is a connection, a timer while the next attempt is waited for, and the
//! session's news, such as the end of an attempt.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

#[derive(Debug)]
pub(super) struct Watch {
    epoll: OwnedFd,
    timer: OwnedFd,
}

impl Watch {
    /// Returns a descriptor that is readable while `news` is.
    pub(super) fn new(news: BorrowedFd<'_>) -> io::Result<Watch> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        let watch = Watch { epoll: epoll::create(CreateFlags::CLOEXEC)?, timer };
        for fd in [news, watch.timer.as_fd()] {
            watch.add(fd)?;
            watch.enable(fd)?;
        }
        Ok(watch)
    }

    /// Makes room for `fd`, which may fail for want of memory.
    pub(super) fn add(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, fd, EventData::new_u64(0), EventFlags::empty())?)
    }

    /// Makes the descriptor readable whenever `fd` is, which has been added.
    pub(super) fn enable(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        Ok(epoll::modify(&self.epoll, fd, EventData::new_u64(0), EventFlags::IN)?)
    }

    /// Undoes [`add`](Watch::add). A socket that is closed could stay in it otherwise, if
    /// another descriptor of it is open.
    pub(super) fn remove(&self, fd: BorrowedFd<'_>) {
        // It fails only if the descriptor is not in it.
        let _ = epoll::delete(&self.epoll, fd);
    }

    /// Makes it readable from that time on; undoes the time that was set before.
    pub(super) fn set_time(&self, time: Option<Instant>) -> io::Result<()> {
        // A time of zero would mean never.
        let left = time.map(|time| time.saturating_duration_since(Instant::now()));
        let it_value = match left {
            None => Timespec::default(),
            Some(left) if left.is_zero() => Timespec { tv_sec: 0, tv_nsec: 1 },
            Some(left) => Timespec::try_from(left).map_err(io::Error::other)?,
        };
        let once = Itimerspec { it_interval: Timespec::default(), it_value };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)?;
        Ok(())
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}
