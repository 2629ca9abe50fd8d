//! What the loop is told by other threads.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::{self, JoinHandle};

use mio::Waker;

use crate::server::Server;

/// Something that the loop is to do between two turns.
type Task = Box<dyn FnOnce(&mut Server) + Send>;

/// Reaches the loop from any thread.
pub(crate) struct Control {
    waker: Waker,
    stopped: AtomicBool,
    tasks: Mutex<Vec<Task>>,
}

/// The loop has ended, or is about to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stopped;

impl Control {
    pub(crate) fn new(waker: Waker) -> Control {
        Control { waker, stopped: AtomicBool::new(false), tasks: Mutex::new(Vec::new()) }
    }

    /// Ends the loop, now or before it starts.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.wake();
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Has the loop do something soon.
    pub(crate) fn post(&self, task: impl FnOnce(&mut Server) + Send + 'static) {
        self.tasks().push(Box::new(task));
        self.wake();
    }

    /// Has the loop do something, and waits for what comes of it.
    pub(crate) fn call<T: Send + 'static>(
        &self,
        task: impl FnOnce(&mut Server) -> T + Send + 'static,
    ) -> Result<T, Stopped> {
        let (answer, result) = mpsc::sync_channel(1);
        self.post(move |server| {
            // Who asked may have given up.
            let _ = answer.send(task(server));
        });
        // A loop that has ended takes no tasks any more.
        if self.is_stopped() {
            self.tasks().clear();
        }
        result.recv().map_err(|_| Stopped)
    }

    /// What is to be done.
    pub(crate) fn take(&self) -> Vec<Task> {
        std::mem::take(&mut self.tasks())
    }

    fn wake(&self) {
        if let Err(error) = self.waker.wake() {
            tracing::error!(%error, "cannot wake the daemon");
        }
    }

    fn tasks(&self) -> MutexGuard<'_, Vec<Task>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control").field("stopped", &self.stopped).finish_non_exhaustive()
    }
}

/// A loop in a thread of its own; dropping it ends the loop and waits for it.
#[derive(Debug)]
pub(crate) struct Running {
    control: Arc<Control>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Running {
    pub(crate) fn start(server: Server) -> io::Result<Running> {
        let control = server.control();
        let done = Arc::clone(&control);
        let run = move || {
            let _done = Ended(done);
            let ended = server.run();
            if let Err(error) = &ended {
                tracing::error!(%error, "the daemon ends");
            }
            ended
        };
        let thread = thread::Builder::new().name("spread-daemon".to_owned()).spawn(run)?;
        Ok(Running { control, thread: Some(thread) })
    }

    pub(crate) fn control(&self) -> &Arc<Control> {
        &self.control
    }

    /// Waits until the loop has ended.
    pub(crate) fn wait(&mut self) -> io::Result<()> {
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(ended)) => ended,
            Some(Err(_)) => Err(io::Error::other("the daemon's thread panicked")),
            None => Ok(()),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.control.stop();
        if let Err(error) = self.wait() {
            tracing::error!(%error, "the daemon had failed");
        }
    }
}

/// Lets nobody wait for a loop that is no more, also after a panic.
struct Ended(Arc<Control>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.stopped.store(true, Ordering::Release);
        self.0.tasks().clear();
    }
}
