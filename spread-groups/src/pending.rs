//! Results that are under way.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;

use crate::Error;
use crate::core::requests::OperationId;

/// A result that is under way.
///
/// The operation goes on whether or not the result is awaited: dropping this withdraws nothing,
/// except the request for a [lock](crate::lock). It is a [`Future`]; a thread calls
/// [`wait`](Pending::wait).
///
/// The handlers of calls, jobs, votes and actions run in threads of their own, and may wait. A
/// handler that calls its own service waits for itself, forever unless the call has a limit.
///
/// ```no_run
/// # fn show(pending: spread_groups::Pending<u32>) -> Result<(), spread_groups::Error> {
/// let answer = pending.wait()?;
/// # Ok(())
/// # }
/// ```
#[must_use = "an error would go unnoticed"]
pub struct Pending<T> {
    result: oneshot::Receiver<Decode<T>>,
    withdrawal: Withdrawal,
    operation: Option<OperationId>,
}

/// What is done when a [`Pending`] is dropped before its result was taken.
struct Withdrawal(Option<Box<dyn FnOnce() + Send>>);

impl Drop for Withdrawal {
    fn drop(&mut self) {
        if let Some(withdraw) = self.0.take() {
            withdraw();
        }
    }
}

/// Reads the result, in the thread that waits for it.
type Decode<T> = Box<dyn FnOnce() -> Result<T, Error> + Send>;

/// Ends a [`Pending`] with the bytes of its result.
pub(crate) type Completion = Box<dyn FnOnce(Result<Bytes, Error>) + Send>;

/// What is told how something ended.
type Complete<T> = Box<dyn FnOnce(Result<T, Error>) + Send>;

/// Ends what the node's thread has not begun: if this is dropped, nothing was sent.
pub(crate) struct Unsent<T>(Option<Complete<T>>);

impl<T> Unsent<T> {
    pub(crate) fn new(complete: Complete<T>) -> Unsent<T> {
        Unsent(Some(complete))
    }

    /// Begins it.
    pub(crate) fn into_inner(mut self) -> Complete<T> {
        self.0.take().expect("taken here, and when it is dropped")
    }
}

impl<T> Drop for Unsent<T> {
    fn drop(&mut self) {
        if let Some(complete) = self.0.take() {
            complete(Err(Error::Closed { may_have_executed: false }));
        }
    }
}

impl<T: Send + 'static> Pending<T> {
    /// Returns a pending result, and the function that ends it with a value.
    pub(crate) fn new() -> (impl FnOnce(Result<T, Error>) + Send + 'static, Pending<T>) {
        let (sender, result) = oneshot::channel::<Decode<T>>();
        let complete = |value| drop(sender.send(Box::new(|| value)));
        (complete, Pending { result, withdrawal: Withdrawal(None), operation: None })
    }

    /// Returns a pending result, and the function that ends it with bytes, which `decode` reads.
    pub(crate) fn of_bytes(
        decode: impl FnOnce(Bytes) -> Result<T, Error> + Send + 'static,
    ) -> (Completion, Pending<T>) {
        let (sender, result) = oneshot::channel::<Decode<T>>();
        let complete = |bytes: Result<Bytes, Error>| {
            drop(sender.send(Box::new(move || decode(bytes?))));
        };
        let withdrawal = Withdrawal(None);
        (Box::new(complete), Pending { result, withdrawal, operation: None })
    }

    /// Notes the operation of which this is the result.
    pub(crate) fn of_operation(mut self, id: impl Into<Option<OperationId>>) -> Pending<T> {
        self.operation = id.into();
        self
    }

    /// Returns the id of the operation in the replicated log of which this is the result; `None`
    /// for other results, such as that of a call. [`Event::Rewound`](crate::Event::Rewound) and
    /// [`Event::Lost`](crate::Event::Lost) name operations by it.
    pub fn operation(&self) -> Option<OperationId> {
        self.operation
    }

    /// Calls `withdraw` if this is dropped before its result was taken.
    pub(crate) fn or_withdraw(mut self, withdraw: impl FnOnce() + Send + 'static) -> Pending<T> {
        self.withdrawal.0 = Some(Box::new(withdraw));
        self
    }

    /// Returns a function that returns whether this was dropped before its result was taken.
    pub(crate) fn told_when_given_up(self) -> (impl Fn() -> bool + Send + 'static, Pending<T>) {
        let given_up = Arc::new(AtomicBool::new(false));
        let near = given_up.clone();
        let pending = self.or_withdraw(move || near.store(true, Ordering::Relaxed));
        (move || given_up.load(Ordering::Relaxed), pending)
    }

    /// Returns a pending result that has failed.
    pub(crate) fn failed(error: Error) -> Pending<T> {
        let (complete, pending) = Pending::new();
        complete(Err(error));
        pending
    }

    /// Waits for the result.
    ///
    /// # Errors
    ///
    /// The error of the operation; [`Error::OwnThread`] on a thread of this crate, such as the
    /// one that runs [`StateMachine::apply`](crate::StateMachine::apply), because the
    /// result might need this very thread.
    pub fn wait(self) -> Result<T, Error> {
        refuse_own_threads()?;
        let Pending { result, mut withdrawal, .. } = self;
        let decode = result.recv();
        withdrawal.0 = None;
        decode.map_err(|_| GIVEN_UP)?()
    }

    /// Waits for the result; `None` after `timeout`. Then the operation may still be executed, and
    /// this can be waited for again.
    ///
    /// # Errors
    ///
    /// Those of [`wait`](Pending::wait).
    pub fn wait_timeout(&mut self, timeout: Duration) -> Result<Option<T>, Error> {
        refuse_own_threads()?;
        let decode = match self.result.recv_timeout(timeout) {
            Err(oneshot::RecvTimeoutError::Timeout) => return Ok(None),
            received => received.map_err(|_| GIVEN_UP),
        };
        self.withdrawal.0 = None;
        decode?().map(Some)
    }
}

/// Of what nobody will end any more.
const GIVEN_UP: Error = Error::Closed { may_have_executed: true };

impl<T> Future for Pending<T> {
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T, Error>> {
        let result = std::task::ready!(Pin::new(&mut self.result).poll(cx));
        self.withdrawal.0 = None;
        Poll::Ready(result.map_err(|_| GIVEN_UP).and_then(|decode| decode()))
    }
}

impl<T> std::fmt::Debug for Pending<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pending").finish_non_exhaustive()
    }
}

thread_local! {
    static OWN: Cell<bool> = const { Cell::new(false) };
}

/// Marks the thread as one of this crate, which must not wait for results.
pub(crate) fn mark_own_thread() {
    OWN.set(true);
}

pub(crate) fn refuse_own_threads() -> Result<(), Error> {
    if OWN.get() { Err(Error::OwnThread) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pending() -> (Completion, Pending<usize>) {
        Pending::of_bytes(|bytes| Ok(bytes.len()))
    }

    #[test]
    fn a_result_can_be_waited_for_again_after_a_timeout() {
        let (completion, mut pending) = pending();
        assert!(matches!(pending.wait_timeout(Duration::ZERO), Ok(None)));
        completion(Ok(Bytes::from_static(b"abc")));
        assert!(matches!(pending.wait_timeout(Duration::from_secs(9)), Ok(Some(3))));
    }

    #[test]
    fn what_is_given_up_is_closed() {
        let (completion, pending) = pending();
        drop(completion);
        assert!(matches!(pending.wait(), Err(Error::Closed { .. })));
    }

    #[test]
    fn what_is_dropped_before_its_result_was_taken_is_withdrawn() {
        let (withdrawn, seen) = std::sync::mpsc::channel();
        let withdrawing = || {
            let (completion, pending) = pending();
            let withdrawn = withdrawn.clone();
            (completion, pending.or_withdraw(move || withdrawn.send(()).unwrap()))
        };
        let (completion, taken) = withdrawing();
        completion(Ok(Bytes::new()));
        assert_eq!(taken.wait().unwrap(), 0);
        assert!(seen.try_recv().is_err());
        let (_completion, mut late) = withdrawing();
        assert!(matches!(late.wait_timeout(Duration::ZERO), Ok(None)));
        assert!(seen.try_recv().is_err());
        drop(late);
        assert!(seen.try_recv().is_ok());
    }

    #[test]
    fn threads_of_this_crate_do_not_wait() {
        let own = std::thread::spawn(|| {
            mark_own_thread();
            pending().1.wait()
        });
        assert!(matches!(own.join().unwrap(), Err(Error::OwnThread)));
    }

    #[test]
    fn a_pending_result_can_go_anywhere() {
        fn anywhere<T: Send + Unpin + 'static>(_: &T) {}
        anywhere(&pending().1);
    }
}
