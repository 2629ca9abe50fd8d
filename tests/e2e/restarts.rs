//! Many sessions survive many restarts of their daemon, and are in their groups in the end.
//!
//! `SPREAD_RESTARTS` is the number of restarts, 50 unless set.

use std::collections::BTreeSet;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use crate::support::place::{Place, has_ended};
use crate::support::{PATIENCE, Transport};
use spread::{Backoff, Error, Message, SessionEvent, SessionStats};
use spread_daemon::Daemon;

const SESSIONS: usize = 50;

/// The group of all; each is in one of its own, too.
const ALL: &str = "all";

const BACKOFF: Backoff = Backoff::new(Duration::from_millis(2), Duration::from_millis(20));

fn restarts() -> u64 {
    std::env::var("SPREAD_RESTARTS").map_or(50, |text| text.parse().expect("a number"))
}

/// What a session has come to know since it was last connected.
struct Progress {
    number: usize,
    own: String,
    losses: u64,
    sees_all: bool,
    sees_itself: bool,
    /// Takes the numbers of the session and of its losses, once it is in its groups.
    complete: Sender<(usize, u64)>,
}

impl Progress {
    fn new(number: usize, complete: Sender<(usize, u64)>) -> Progress {
        let own = format!("own{number}");
        Progress { number, own, losses: 0, sees_all: false, sees_itself: false, complete }
    }

    /// Takes note of an event; returns whether the session goes on.
    fn note(&mut self, event: Result<SessionEvent, Error>) -> bool {
        match event {
            Ok(SessionEvent::Message(Message::Membership(view))) => {
                self.sees_all |= view.group == ALL && view.members.len() == SESSIONS;
                self.sees_itself |= view.group == self.own.as_str();
                if self.sees_all && self.sees_itself {
                    // The test may have failed, and be gone.
                    let _ = self.complete.send((self.number, self.losses));
                }
            }
            Ok(SessionEvent::Lost { .. }) => {
                self.losses += 1;
                (self.sees_all, self.sees_itself) = (false, false);
            }
            Ok(_) => {}
            ended => {
                assert!(has_ended(ended), "session {}", self.number);
                return false;
            }
        }
        true
    }
}

/// Restarts the daemon, each time after all sessions are in their groups.
fn restart(place: &Place, mut daemon: Daemon, complete: &Receiver<(usize, u64)>) {
    for round in 0..=restarts() {
        let mut missing: BTreeSet<_> = (0..SESSIONS).collect();
        while !missing.is_empty() {
            match complete.recv_timeout(PATIENCE) {
                Ok((number, losses)) if losses == round => drop(missing.remove(&number)),
                Ok(_) => {}
                Err(error) => panic!("restart {round}: {error}, without {missing:?}"),
            }
        }
        if round < restarts() {
            daemon.stop();
            daemon = place.start_again();
        }
    }
}

fn check(stats: SessionStats) {
    assert_eq!(stats.reconnects, restarts(), "{stats:?}");
    assert!(stats.attempts > restarts(), "{stats:?}");
}

#[test]
fn fifty_sessions_survive_fifty_restarts() {
    let (place, daemon) = Place::start(Transport::Tcp);
    let (complete, completed) = mpsc::channel();
    let sessions: Vec<_> = (0..SESSIONS)
        .map(|number| {
            let session = place.session(&format!("s{number}"), BACKOFF);
            let mut progress = Progress::new(number, complete.clone());
            session.join(ALL).unwrap();
            session.join(&progress.own).unwrap();
            let (sender, mut receiver) = session.split();
            let waiting = thread::spawn(move || while progress.note(receiver.receive()) {});
            (sender, waiting)
        })
        .collect();
    restart(&place, daemon, &completed);
    for (sender, waiting) in sessions {
        check(sender.stats());
        sender.shut_down();
        waiting.join().unwrap();
    }
}

#[test]
fn fifty_async_sessions_survive_fifty_restarts() {
    let (place, daemon) = Place::start(Transport::Unix);
    let (complete, completed) = mpsc::channel();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let sessions: Vec<_> = (0..SESSIONS)
        .map(|number| {
            let mut progress = Progress::new(number, complete.clone());
            let (sender, mut receiver) = runtime.block_on(async {
                let session = place.session_async(&format!("s{number}"), BACKOFF).await;
                session.join(ALL).await.unwrap();
                session.join(&progress.own).await.unwrap();
                session.split()
            });
            let waiting =
                runtime.spawn(async move { while progress.note(receiver.receive().await) {} });
            (sender, waiting)
        })
        .collect();
    restart(&place, daemon, &completed);
    for (sender, waiting) in sessions {
        check(sender.stats());
        sender.shut_down();
        runtime.block_on(waiting).unwrap();
    }
}
