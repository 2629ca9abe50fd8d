//! Answers of the daemon that all requests of a moment share.

use std::time::{Duration, Instant};

use tokio::sync::Mutex;
use tokio::task::spawn_blocking;

/// The latest answer to one question. It is asked again when the answer is older than a time: so
/// the daemon's loop is not asked more often, however many requests come.
pub(super) struct Latest<T> {
    fresh: Duration,
    answer: Mutex<Option<(Instant, T)>>,
}

impl<T: Clone + Send + 'static> Latest<T> {
    pub(super) fn new(fresh: Duration) -> Latest<T> {
        Latest { fresh, answer: Mutex::new(None) }
    }

    /// Returns the latest answer, or asks for one; requests that come meanwhile wait for it.
    pub(super) async fn get(&self, ask: impl FnOnce() -> Option<T> + Send + 'static) -> Option<T> {
        let mut latest = self.answer.lock().await;
        if let Some((at, answer)) = &*latest
            && at.elapsed() < self.fresh
        {
            return Some(answer.clone());
        }
        let asked = Instant::now();
        let answer = blocking(ask).await;
        *latest = answer.clone().map(|answer| (asked, answer));
        answer
    }

    /// Forgets the latest answer, because it is no longer true.
    pub(super) async fn forget(&self) {
        *self.answer.lock().await = None;
    }
}

/// Asks in a thread that may wait.
pub(super) async fn blocking<T: Send + 'static>(
    ask: impl FnOnce() -> Option<T> + Send + 'static,
) -> Option<T> {
    // It does not panic.
    spawn_blocking(ask).await.ok().flatten()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::runtime::Builder;

    use super::*;

    /// Returns the answers to as many requests at once; each question has the next number for
    /// an answer.
    fn answers(latest: Latest<u32>, count: usize) -> Vec<Option<u32>> {
        let (latest, asked) = (Arc::new(latest), Arc::<AtomicU32>::default());
        let request = || {
            let (latest, asked) = (Arc::clone(&latest), Arc::clone(&asked));
            async move { latest.get(move || Some(asked.fetch_add(1, Ordering::Relaxed))).await }
        };
        let runtime = Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let tasks: Vec<_> = (0..count).map(|_| tokio::spawn(request())).collect();
            let mut answers = Vec::new();
            for task in tasks {
                answers.push(task.await.unwrap());
            }
            latest.forget().await;
            answers.push(request().await);
            answers
        })
    }

    #[test]
    fn requests_share_an_answer_while_it_is_fresh() {
        assert_eq!(answers(Latest::new(Duration::MAX), 3), [0, 0, 0, 1].map(Some));
        assert_eq!(answers(Latest::new(Duration::ZERO), 3), [0, 1, 2, 3].map(Some));
    }

    #[test]
    fn no_answer_is_not_kept() {
        let latest: Latest<u32> = Latest::new(Duration::MAX);
        let runtime = Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            assert_eq!(latest.get(|| None).await, None);
            assert_eq!(latest.get(|| Some(7)).await, Some(7));
        });
    }
}
