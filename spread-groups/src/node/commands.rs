//! What other threads ask of the node's thread.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use spread::Interrupter;

use super::runner::Runner;

/// Something that the node's thread is to do.
pub(crate) type Command = Box<dyn FnOnce(&mut Runner) + Send>;

/// Commands that wait, in their order.
#[derive(Clone)]
pub(crate) struct Commands(Arc<Shared>);

struct Shared {
    queue: Mutex<Queue>,
    /// Ends the receive in which the thread waits.
    interrupter: Interrupter,
}

#[derive(Default)]
struct Queue {
    waiting: Vec<Command>,
    closed: bool,
}

impl Commands {
    pub(super) fn new(interrupter: Interrupter) -> Commands {
        Commands(Arc::new(Shared { queue: Mutex::default(), interrupter }))
    }

    /// Runs a command in the node's thread, or drops it if the thread has ended.
    pub(crate) fn push(&self, command: impl FnOnce(&mut Runner) + Send + 'static) {
        let mut queue = self.lock();
        if queue.closed {
            return;
        }
        queue.waiting.push(Box::new(command));
        let is_first = queue.waiting.len() == 1;
        drop(queue);
        // The thread takes all of them at once.
        if is_first {
            self.0.interrupter.interrupt();
        }
    }

    /// Runs a command in the node's thread after a delay, or drops it if the thread has ended.
    pub(crate) fn after(
        &self,
        delay: Duration,
        command: impl FnOnce(&mut Runner) + Send + 'static,
    ) {
        self.push(move |runner| runner.after(delay, Box::new(command)));
    }

    pub(super) fn take(&self) -> Vec<Command> {
        std::mem::take(&mut self.lock().waiting)
    }

    /// Takes no more commands.
    pub(super) fn close(&self) {
        let mut queue = self.lock();
        queue.closed = true;
        let waiting = std::mem::take(&mut queue.waiting);
        drop(queue);
        drop(waiting);
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Commands {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Commands").finish_non_exhaustive()
    }
}
