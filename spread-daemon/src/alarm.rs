//! A clock that wakes the loop in microseconds; a poll counts milliseconds.

#[cfg(target_os = "linux")]
pub(crate) use linux::Alarm;
#[cfg(not(target_os = "linux"))]
pub(crate) use none::Alarm;

#[cfg(target_os = "linux")]
mod linux {
    use std::io;
    use std::os::fd::{AsFd, AsRawFd};
    use std::time::Duration;

    use mio::unix::SourceFd;
    use mio::{Interest, Registry, Token};
    use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

    #[derive(Debug)]
    pub(crate) struct Alarm(TimerFd);

    impl Alarm {
        /// An alarm that rings as an event of this token.
        pub(crate) fn new(registry: &Registry, token: Token) -> io::Result<Alarm> {
            let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
            let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
            let fd = timer.as_fd().as_raw_fd();
            registry.register(&mut SourceFd(&fd), token, Interest::READABLE)?;
            Ok(Alarm(timer))
        }

        /// Has it ring once, after some time.
        pub(crate) fn set(&self, after: Duration) -> io::Result<()> {
            let once = Expiration::OneShot(after.into());
            Ok(self.0.set(once, TimerSetTimeFlags::empty())?)
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod none {
    use std::io;
    use std::time::Duration;

    use mio::{Registry, Token};

    #[derive(Debug)]
    pub(crate) enum Alarm {}

    impl Alarm {
        pub(crate) fn new(_: &Registry, _: Token) -> io::Result<Alarm> {
            Err(io::ErrorKind::Unsupported.into())
        }

        pub(crate) fn set(&self, _: Duration) -> io::Result<()> {
            match *self {}
        }
    }
}
