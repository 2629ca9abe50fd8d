//! All listeners of the loop, and which of them have connections waiting.

use std::fs::File;
use std::io;
use std::time::{Duration, Instant};

use mio::{Interest, Registry, Token};

use super::listener::{Door, Listener};
use super::stream::Stream;

/// How long to wait before a connection is accepted after none could be.
const RETRY: Duration = Duration::from_millis(100);

/// The listeners, whose events have their places as tokens.
#[derive(Debug)]
pub(crate) struct Listeners {
    list: Vec<Listener>,
    /// Listeners that may have more connections, though no event will say so.
    ready: Vec<usize>,
    /// When to try again though accepting has failed.
    retry_at: Option<Instant>,
    /// Keeps a file descriptor free for a connection when no other is. Without it a
    /// failure would not tell whether a connection waits.
    spare: Option<File>,
}

/// A connection that was accepted.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) stream: Stream,
    pub(crate) door: Door,
    /// It has the last file descriptor, so that another connection must be closed.
    pub(crate) is_last: bool,
}

impl Listeners {
    pub(crate) fn new(mut list: Vec<Listener>, registry: &Registry) -> io::Result<Listeners> {
        for (place, listener) in list.iter_mut().enumerate() {
            registry.register(listener, Token(place), Interest::READABLE)?;
        }
        Ok(Listeners { list, ready: Vec::new(), retry_at: None, spare: None })
    }

    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    /// Returns whether some may have connections waiting.
    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    pub(crate) fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    /// Notes that a listener may have connections.
    pub(crate) fn note(&mut self, place: usize) {
        if !self.ready.contains(&place) {
            self.ready.push(place);
        }
    }

    /// Returns the listeners that may have connections.
    pub(crate) fn take_ready(&mut self, now: Instant) -> Vec<usize> {
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = None;
            self.ready = (0..self.list.len()).collect();
        }
        std::mem::take(&mut self.ready)
    }

    /// Tries all listeners again in a while.
    pub(crate) fn retry_later(&mut self, now: Instant) {
        self.retry_at = Some(now + RETRY);
    }

    /// Accepts the next connection of a listener; see [`Listener::accept`].
    pub(crate) fn accept(&mut self, place: usize) -> io::Result<Option<Accepted>> {
        if self.spare.is_none() {
            // It fails if no descriptor is free, which the next connection tells.
            self.spare = File::open("/dev/null").ok();
        }
        let listener = &self.list[place];
        let accepted = match listener.accept() {
            Err(_) if self.spare.take().is_some() => listener.accept(),
            accepted => accepted,
        };
        let is_last = self.spare.is_none();
        Ok(accepted?.map(|stream| Accepted { stream, door: listener.door, is_last }))
    }

    /// Closes all listeners.
    pub(crate) fn close(&mut self, registry: &Registry) {
        self.list.iter_mut().for_each(|listener| listener.close(registry));
        self.ready.clear();
        self.retry_at = None;
    }

    /// Refuses connections at a door until [`Listeners::resume`].
    pub(crate) fn suspend(&mut self, door: Door, registry: &Registry) {
        for (place, listener) in self.list.iter_mut().enumerate() {
            if listener.door == door {
                listener.suspend(registry);
                self.ready.retain(|ready| *ready != place);
            }
        }
    }

    /// Takes connections at a door again.
    pub(crate) fn resume(&mut self, door: Door, registry: &Registry) -> io::Result<()> {
        for (place, listener) in self.list.iter_mut().enumerate() {
            if listener.door == door {
                listener.resume()?;
                registry.register(listener, Token(place), Interest::READABLE)?;
            }
        }
        Ok(())
    }
}
