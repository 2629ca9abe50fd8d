//! The thread that has a group's replica, so that a slow state machine delays only the answers
//! of its operations.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::{io, thread};

use bytes::Bytes;

use super::commands::Commands;
use super::shared::Shared;
use crate::Error;
use crate::core::replica::{Entry, Replica};
use crate::core::{Event, Input};

/// Entries that may wait for the state machines. A member that is further behind leaves.
const BACKLOG: usize = 1 << 16;

/// Bytes of operations that may wait so. A newcomer has up to 64 MiB of them at once.
const BACKLOG_BYTES: usize = 256 << 20;

/// What the replica has to do.
pub(super) enum Task {
    /// Apply an entry, and tell the answer if it is one of this node.
    Entry(Entry, bool),
    /// Tell the state at this place.
    Cut(u64),
    /// Replace the state.
    Restore(u64, Bytes),
    /// Say that all before is done.
    Ready(u64),
}

impl Task {
    fn bytes(&self) -> usize {
        match self {
            Task::Entry(entry, _) => entry.body.len(),
            Task::Cut(_) | Task::Restore(..) | Task::Ready(_) => 0,
        }
    }
}

/// What waits for the state machines.
#[derive(Default)]
struct Backlog {
    tasks: AtomicUsize,
    bytes: AtomicUsize,
}

impl Backlog {
    /// Adds a task of so many bytes; returns whether there was room for it.
    fn add(&self, bytes: usize) -> bool {
        let tasks = self.tasks.fetch_add(1, Ordering::Relaxed);
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        tasks < BACKLOG && before < BACKLOG_BYTES
    }

    fn remove(&self, bytes: usize) {
        self.tasks.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// The near end of a replica's thread, which ends when this is dropped.
pub(super) struct Executor {
    tasks: Sender<Task>,
    backlog: Arc<Backlog>,
    ended: Arc<AtomicBool>,
}

impl Drop for Executor {
    /// What waits is not done any more.
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

impl Executor {
    pub(super) fn start(
        shared: Arc<Shared>,
        replica: Replica,
        commands: Commands,
    ) -> io::Result<Executor> {
        let (tasks, queue) = channel();
        let executor = Executor { tasks, backlog: Arc::default(), ended: Arc::default() };
        let (backlog, ended) = (executor.backlog.clone(), executor.ended.clone());
        let worker = Worker { shared, replica, commands, backlog, ended, generation: 0 };
        let thread = thread::Builder::new().name(String::from("spread-groups-apply"));
        thread.spawn(move || worker.run(&queue))?;
        Ok(executor)
    }

    /// Queues a task; returns whether the replica is not too far behind.
    pub(super) fn push(&self, task: Task) -> bool {
        let has_room = self.backlog.add(task.bytes());
        // It fails after a panic, of which the node is told.
        drop(self.tasks.send(task));
        has_room
    }
}

struct Worker {
    shared: Arc<Shared>,
    replica: Replica,
    commands: Commands,
    backlog: Arc<Backlog>,
    ended: Arc<AtomicBool>,
    generation: u64,
}

impl Worker {
    fn run(mut self, queue: &Receiver<Task>) {
        crate::pending::mark_own_thread();
        for task in queue {
            if self.ended.load(Ordering::Relaxed) {
                return;
            }
            self.backlog.remove(task.bytes());
            // The replica is not used after a panic.
            if catch_unwind(AssertUnwindSafe(|| self.work(task))).is_err() {
                return self.commands.poison(self.shared);
            }
        }
    }

    fn work(&mut self, task: Task) {
        match task {
            Task::Entry(entry, own) => {
                let answered = self.replica.apply(&entry);
                if let Some(answered) = answered.filter(|_| own) {
                    self.tell(Input::Answered(self.generation, answered));
                }
            }
            Task::Cut(cut) => {
                let (shared, generation) = (self.shared.clone(), self.generation);
                let (encode, commands) = (self.replica.capture(), self.commands.clone());
                let encode = move || match catch_unwind(AssertUnwindSafe(encode)) {
                    Ok(state) => {
                        let state = Input::State { generation, cut, state };
                        commands.push(move |runner| runner.input_to(&shared, state));
                    }
                    Err(_) => commands.poison(shared),
                };
                // Without a thread no state is told, and the newcomer asks another member.
                let thread = thread::Builder::new().name(String::from("spread-groups-encode"));
                drop(thread.spawn(encode));
            }
            Task::Ready(readiness) => {
                let shared = self.shared.clone();
                self.commands.push(move |runner| {
                    if let Some(hosted) = runner.part(&shared) {
                        hosted.ready(readiness);
                    }
                });
            }
            Task::Restore(generation, state) => {
                self.generation = generation;
                if self.replica.restore(&state).is_err() {
                    self.tell(Input::BadState);
                }
            }
        }
    }

    fn tell(&self, input: Input) {
        let shared = self.shared.clone();
        self.commands.push(move |runner| runner.input_to(&shared, input));
    }
}

impl Commands {
    /// Takes a member out of a group whose state machine has panicked.
    fn poison(&self, shared: Arc<Shared>) {
        self.push(move |runner| {
            if let Some(hosted) = runner.part(&shared) {
                hosted.fail(Error::Poisoned, &Event::Poisoned);
            }
            runner.input_to(&shared, Input::Close);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_is_too_far_behind_by_entries_or_by_bytes() {
        let backlog = Backlog::default();
        assert!((0..BACKLOG).all(|_| backlog.add(0)));
        assert!(!backlog.add(0));
        let backlog = Backlog::default();
        assert!(backlog.add(BACKLOG_BYTES), "it is alone");
        assert!(!backlog.add(1));
        backlog.remove(BACKLOG_BYTES);
        assert!(backlog.add(1));
    }
}
