//! The task of a connection that sends what is buffered when nobody else does.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, Once, Weak};
use std::task::Poll;
use std::time::Duration;

use spread_core::MEMORY_PAUSE;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::time::sleep;

use super::Shared;
use crate::Error;

/// The longest wait before a flush that lacked memory is tried again.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A task of the runtime, which is started when it is first needed and ends with the last
/// half of the mailbox. What it leaves then goes the way of the connection.
#[derive(Debug)]
pub(super) struct Flusher {
    runtime: Handle,
    started: Once,
    /// Whether there is something to send.
    work: Arc<Notify>,
    /// Ends the task by being dropped; `None` only during the drop.
    end: Option<watch::Sender<()>>,
}

impl Flusher {
    /// For the runtime of the calling task.
    ///
    /// # Panics
    ///
    /// Outside a runtime, or in one whose time is not enabled.
    pub(super) fn new() -> Flusher {
        // That shows here, and not in a pause.
        drop(sleep(Duration::ZERO));
        let (runtime, end) = (Handle::current(), Some(watch::Sender::new(())));
        Flusher { runtime, started: Once::new(), work: Arc::default(), end }
    }

    /// Lets the task send what is buffered, until nothing is.
    pub(super) fn wake(&self, shared: &Arc<Shared>) {
        self.started.call_once(|| {
            if let Some(end) = &self.end {
                let (shared, work) = (Arc::downgrade(shared), Arc::clone(&self.work));
                self.runtime.spawn(run(shared, work, end.subscribe()));
            }
        });
        self.work.notify_one();
    }

    /// Leaves the task alone, in the child of a fork: to end it would be to wake the parent's
    /// runtime.
    pub(super) fn forget(&mut self) {
        std::mem::forget(self.end.take());
    }
}

async fn run(shared: Weak<Shared>, work: Arc<Notify>, mut end: watch::Receiver<()>) {
    let mut ended = pin!(end.changed());
    while unless(ended.as_mut(), work.notified()).await.is_some() {
        let mut pause = Pause::default();
        loop {
            let flush = poll_fn(|cx| match shared.upgrade() {
                Some(shared) => shared.poll_flush(cx),
                None => Poll::Ready(Ok(())),
            });
            match unless(ended.as_mut(), flush).await {
                Some(Ok(())) => break,
                Some(Err(Error::Resource(_))) => {
                    if unless(ended.as_mut(), pause.wait()).await.is_none() {
                        return;
                    }
                }
                // Whoever uses the mailbox next is told what went wrong.
                Some(Err(_)) | None => return,
            }
        }
    }
}

/// The waits of a task while the kernel lacks memory: no event tells when it has some again.
#[derive(Debug)]
pub(super) struct Pause(Duration);

impl Default for Pause {
    fn default() -> Pause {
        Pause(MEMORY_PAUSE)
    }
}

impl Pause {
    /// Waits for twice as long as the last time, up to a second.
    pub(super) async fn wait(&mut self) {
        sleep(self.0).await;
        self.0 = (2 * self.0).min(LONGEST_PAUSE);
    }
}

/// The result of a future; `None` if the end comes before.
async fn unless<T>(mut ended: Pin<&mut impl Future>, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    poll_fn(|cx| match ended.as_mut().poll(cx) {
        Poll::Ready(_) => Poll::Ready(None),
        Poll::Pending => future.as_mut().poll(cx).map(Some),
    })
    .await
}
