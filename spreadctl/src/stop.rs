//! The end that comes from outside: signals, and a reader of the output that goes away.

use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::failure::{End, Result};

/// How long a command may take to end, for example to leave its groups.
const GRACE: Duration = Duration::from_secs(5);

/// What has been asked for from outside, and whom to wake then.
#[derive(Clone, Default)]
pub(crate) struct Stop {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    cause: Option<Cause>,
    wake: Option<Box<dyn Fn() + Send>>,
    clean_up: Option<Box<dyn Fn() + Send>>,
}

impl State {
    fn exit(&self, cause: Cause) -> ! {
        self.clean_up.iter().for_each(|clean_up| clean_up());
        std::process::exit(cause.end().code().into())
    }
}

#[derive(Clone, Copy)]
enum Cause {
    Signal(i32),
    OutputClosed,
}

impl Cause {
    fn end(self) -> End {
        match self {
            Cause::Signal(number) => End::Signal(number),
            Cause::OutputClosed => End::OutputClosed,
        }
    }
}

impl Stop {
    /// Handles SIGINT, SIGTERM and SIGHUP from now on. The first one wakes the command;
    /// without one that can be woken, at the second signal, and when the command does not end in
    /// time, the process exits.
    pub(crate) fn on_signals() -> io::Result<Stop> {
        let stop = Stop::default();
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
        let seen = stop.clone();
        thread::spawn(move || {
            for number in signals.forever() {
                seen.stop(Cause::Signal(number));
            }
        });
        Ok(stop)
    }

    /// Ends the command, too, when nobody reads the standard output any more, though nothing
    /// is written to it.
    pub(crate) fn watch_output(&self) {
        let stop = self.clone();
        thread::spawn(move || {
            let stdout = io::stdout();
            let mut fds = [PollFd::new(stdout.as_fd(), PollFlags::empty())];
            // Ends with the process.
            loop {
                match poll(&mut fds, PollTimeout::NONE) {
                    Err(Errno::EINTR) => {}
                    Err(_) => return,
                    Ok(_) => break,
                }
            }
            let gone = PollFlags::POLLERR | PollFlags::POLLHUP;
            if fds[0].revents().is_some_and(|events| events.intersects(gone)) {
                stop.stop(Cause::OutputClosed);
            }
        });
    }

    /// Calls `wake` when the command is to end, at once if it is already.
    pub(crate) fn on_wake(&self, wake: impl Fn() + Send + 'static) {
        let mut state = self.state();
        if state.cause.is_some() {
            wake();
        }
        state.wake = Some(Box::new(wake));
    }

    /// Calls `clean_up` before the process exits because of a signal.
    pub(crate) fn on_exit(&self, clean_up: impl Fn() + Send + 'static) {
        self.state().clean_up = Some(Box::new(clean_up));
    }

    /// Returns why the command is to end.
    ///
    /// # Errors
    ///
    /// [`End`] if it is.
    pub(crate) fn check(&self) -> Result {
        match self.state().cause {
            None => Ok(()),
            Some(cause) => Err(cause.end()),
        }
    }

    fn stop(&self, cause: Cause) {
        let mut state = self.state();
        match (&state.wake, state.cause) {
            (Some(wake), None) => {
                wake();
                state.cause = Some(cause);
                let late = self.clone();
                thread::spawn(move || {
                    thread::sleep(GRACE);
                    late.state().exit(cause)
                });
            }
            // What a signal that came first has asked for is under way.
            (_, Some(_)) if matches!(cause, Cause::OutputClosed) => {}
            _ => state.exit(cause),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
