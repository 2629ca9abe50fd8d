//! How a session reconnects.

use std::fmt;
use std::sync::Arc;

use super::Backoff;
use crate::Error;

/// Tells of an error and the number of the attempt whether to try again.
type Policy = Arc<dyn Fn(&Error, u32) -> bool + Send + Sync>;

/// How a session reconnects. A [`Backoff`] alone will do in most cases.
///
/// ```
/// use spread::{Backoff, Error, SessionOptions};
///
/// // Ask at most 20 times, and return an error at once if the name is in use.
/// let options = SessionOptions::new().backoff(Backoff::default()).retry_if(|error, attempt| {
///     attempt < 20 && error.is_retryable() && !matches!(error, Error::NameInUse { .. })
/// });
/// ```
#[derive(Clone, Default)]
pub struct SessionOptions {
    pub(super) backoff: Backoff,
    pub(super) retry_first: bool,
    policy: Option<Policy>,
}

impl SessionOptions {
    /// Returns the default options.
    pub fn new() -> SessionOptions {
        SessionOptions::default()
    }

    /// Sets the waits before attempts.
    pub fn backoff(mut self, backoff: Backoff) -> SessionOptions {
        self.backoff = backoff;
        self
    }

    /// Sets which failed attempts are followed by another one. `policy` is called with the
    /// error and the number of the attempt, which is 1 after a loss. If it returns `false`,
    /// the receive returns the error, and the session has ended.
    ///
    /// Defaults to [`retries_by_default`](SessionOptions::retries_by_default).
    ///
    /// It is called by the thread or task that receives, which waits for it. If it panics, the
    /// panic passes through that receive, and the session has ended.
    pub fn retry_if(
        mut self,
        policy: impl Fn(&Error, u32) -> bool + Send + Sync + 'static,
    ) -> SessionOptions {
        self.policy = Some(Arc::new(policy));
        self
    }

    /// Sets whether the first connection is retried, too. Then the session begins without a
    /// connection, and its events tell when there is one. Defaults to `false`: an error of
    /// the first attempt is returned.
    pub fn retry_first(mut self, retry_first: bool) -> SessionOptions {
        self.retry_first = retry_first;
        self
    }

    /// Returns whether an attempt that failed with `error` is followed by another one unless
    /// [`retry_if`](SessionOptions::retry_if) says otherwise.
    ///
    /// That is so if the error is [retryable](Error::is_retryable), and for
    /// [`NameInUse`](Error::NameInUse): a daemon that has not yet noticed the end of the former
    /// connection still has the name in use. Authentication that fails is not retried.
    pub fn retries_by_default(error: &Error) -> bool {
        error.is_retryable() || matches!(error, Error::NameInUse { .. })
    }

    /// Returns whether to try again after an attempt.
    pub(super) fn retries(&self, error: &Error, attempt: u32) -> bool {
        match &self.policy {
            Some(policy) => policy(error, attempt),
            None => SessionOptions::retries_by_default(error),
        }
    }
}

impl From<Backoff> for SessionOptions {
    fn from(backoff: Backoff) -> SessionOptions {
        SessionOptions::new().backoff(backoff)
    }
}

impl fmt::Debug for SessionOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionOptions")
            .field("backoff", &self.backoff)
            .field("retry_first", &self.retry_first)
            .finish_non_exhaustive()
    }
}
