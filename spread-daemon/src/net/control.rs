//! The handle by which other threads reach the loop: tasks, and the sign to stop.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, mpsc};
use std::thread::{self, JoinHandle, ThreadId};

use mio::Waker;

/// Something that a loop `L` is to do between two turns.
type Task<L> = Box<dyn FnOnce(&mut L) + Send>;

/// Reaches the loop from any thread.
pub(crate) struct Control<L> {
    waker: Waker,
    stopped: AtomicBool,
    tasks: Mutex<Vec<Task<L>>>,
    /// The thread of the loop, once it runs.
    thread: OnceLock<ThreadId>,
}

/// Why the loop does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallError {
    /// It has ended, or is about to.
    Stopped,
    /// It is the loop's own thread that asks, from within a hook of the program.
    OwnThread,
}

impl<L> Control<L> {
    pub(crate) fn new(waker: Waker) -> Control<L> {
        Control {
            waker,
            stopped: AtomicBool::new(false),
            tasks: Mutex::new(Vec::new()),
            thread: OnceLock::new(),
        }
    }

    /// Ends the loop, now or before it starts.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.wake();
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Gives the loop a task, and does not wait for it. A loop that has ended drops it.
    pub(crate) fn post(&self, task: impl FnOnce(&mut L) + Send + 'static) {
        self.tasks().push(Box::new(task));
        self.wake();
        if self.is_stopped() {
            drop(self.take());
        }
    }

    /// Gives the loop a task, and waits for its result.
    pub(crate) fn call<T: Send + 'static>(
        &self,
        task: impl FnOnce(&mut L) -> T + Send + 'static,
    ) -> Result<T, CallError> {
        if self.is_own_thread() {
            return Err(CallError::OwnThread);
        }
        let (answer, result) = mpsc::sync_channel(1);
        self.post(move |this| {
            // Who asked may have given up.
            let _ = answer.send(task(this));
        });
        result.recv().map_err(|_| CallError::Stopped)
    }

    /// Returns the tasks for the loop.
    pub(crate) fn take(&self) -> Vec<Task<L>> {
        std::mem::take(&mut self.tasks())
    }

    fn is_own_thread(&self) -> bool {
        self.thread.get().is_some_and(|thread| *thread == thread::current().id())
    }

    fn wake(&self) {
        if let Err(error) = self.waker.wake() {
            tracing::error!(%error, "cannot wake the daemon");
        }
    }

    fn tasks(&self) -> MutexGuard<'_, Vec<Task<L>>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<L> fmt::Debug for Control<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control").field("stopped", &self.stopped).finish_non_exhaustive()
    }
}

/// A loop in a thread of its own; dropping this ends the loop and waits for it, unless
/// the loop's own thread drops it.
#[derive(Debug)]
pub(crate) struct Running<L> {
    control: Arc<Control<L>>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl<L: Send + 'static> Running<L> {
    /// Calls `run` in a new thread.
    pub(crate) fn start(
        state: L,
        control: Arc<Control<L>>,
        run: impl FnOnce(L) -> io::Result<()> + Send + 'static,
    ) -> io::Result<Running<L>> {
        let done = Arc::clone(&control);
        let run = move || {
            // The cell is empty, because a loop is started only once.
            let _ = done.thread.set(thread::current().id());
            let _done = Ended(done);
            let ended = run(state);
            if let Err(error) = &ended {
                // With a target of its own: a program that says itself why its daemon has ended,
                // where its log is seen, too, can filter it.
                tracing::error!(target: "spread_daemon::end", %error, "the daemon ends");
            }
            ended
        };
        let thread = thread::Builder::new().name("spread-daemon".to_owned()).spawn(run)?;
        Ok(Running { control, thread: Some(thread) })
    }
}

impl<L> Running<L> {
    pub(crate) fn control(&self) -> &Arc<Control<L>> {
        &self.control
    }

    /// Waits until the loop has ended.
    pub(crate) fn wait(&mut self) -> io::Result<()> {
        if self.control.is_own_thread() {
            return Err(io::Error::other("the daemon's own thread cannot wait for its end"));
        }
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(ended)) => ended,
            Some(Err(_)) => Err(io::Error::other("the daemon's thread panicked")),
            None => Ok(()),
        }
    }
}

impl<L> Drop for Running<L> {
    fn drop(&mut self) {
        self.control.stop();
        if self.control.is_own_thread() {
            return;
        }
        if let Err(error) = self.wait() {
            tracing::error!(%error, "the daemon had failed");
        }
    }
}

/// Ends the waiting for a loop that has ended, also after a panic.
struct Ended<L>(Arc<Control<L>>);

impl<L> Drop for Ended<L> {
    fn drop(&mut self) {
        self.0.stopped.store(true, Ordering::Release);
        drop(self.0.take());
    }
}
