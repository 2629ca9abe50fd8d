//! A session in a process that has run out of descriptors.

mod support;

use std::fs::File;
use std::time::{Duration, Instant};

use spread::{Backoff, Error, SessionEvent};
use spread_daemon::Daemon;
use support::place::{News, Place};
use support::{Transport, block_on};

/// Descriptors that the process may have.
const LIMIT: libc::rlim_t = 100;

const BACKOFF: Backoff = Backoff::new(Duration::from_millis(4), Duration::from_millis(20));

#[test]
fn a_lack_of_descriptors_is_an_attempt_in_vain_and_no_busy_loop() {
    let limit = libc::rlimit { rlim_cur: LIMIT, rlim_max: LIMIT };
    // SAFETY: the limit is readable through the call.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0);

    let (place, daemon) = Place::start(Transport::Tcp);
    let mut alice = place.session("alice", BACKOFF);
    daemon.stop();
    alice.lost();
    let mut lack = Lack::begin(&place);
    while lack.goes_on(alice.next_event()) {}
    alice.disconnect().unwrap();

    let (place, daemon) = Place::start(Transport::Tcp);
    block_on(async {
        let mut alice = place.session_async("alice", BACKOFF).await;
        daemon.stop();
        let event = alice.receive().await.unwrap();
        assert!(matches!(event, SessionEvent::Lost { .. }), "{event:?}");
        let mut lack = Lack::begin(&place);
        while lack.goes_on(alice.receive().await.unwrap()) {}
        alice.disconnect().await.unwrap();
    });
}

/// A time in which all descriptors are taken.
struct Lack<'a> {
    place: &'a Place,
    begin: Instant,
    taken: Vec<File>,
    attempts: u32,
    /// The attempts that failed for want of a descriptor.
    lacking: u32,
    daemon: Option<Daemon>,
}

impl Lack<'_> {
    /// Without a daemon, nobody else takes descriptors, or gives any back.
    fn begin(place: &Place) -> Lack<'_> {
        let taken = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
        Lack { place, begin: Instant::now(), taken, attempts: 0, lacking: 0, daemon: None }
    }

    /// Takes note of an event; ends the lack after some attempts, and is over when the session
    /// is connected.
    fn goes_on(&mut self, event: SessionEvent) -> bool {
        match event {
            SessionEvent::Retrying { error, attempt, .. } => {
                self.attempts += 1;
                assert_eq!(attempt, self.attempts);
                self.lacking += u32::from(matches!(error, Error::Resource(_)));
                if self.lacking == 10 && self.daemon.is_none() {
                    let (least, took) = (BACKOFF.first() / 2 * 9, self.begin.elapsed());
                    assert!(took >= least, "{} attempts within {took:?}", self.attempts);
                    self.taken.clear();
                    self.daemon = Some(self.place.start_again());
                }
                true
            }
            SessionEvent::Restored { .. } => {
                assert_eq!(self.lacking, 10);
                false
            }
            other => panic!("{other:?}"),
        }
    }
}
