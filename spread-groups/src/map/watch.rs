//! Watching the keys of a map.

use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_core::Stream;

use super::state::{Entry, Maps, Recent};
use super::{Removal, Versioned, versioned};
use crate::codec::{CodecError, Message};
use crate::inbox::{Inbox, Next, Reader};
use crate::replicated::{Replicated, Watch};

/// Changes that wait for a watcher.
const QUEUE: usize = 1024;

/// An event of a watched key.
#[derive(Debug)]
#[non_exhaustive]
pub enum MapEvent<V> {
    /// A key has this value: it was put, or it is there at the beginning or after a gap.
    Put {
        /// The key.
        key: String,
        /// The value.
        value: Versioned<V>,
    },
    /// A key is gone.
    Removed {
        /// The key.
        key: String,
        /// Why.
        why: Removal,
    },
    /// Changes are missing here: more than 1,024 waited, or the state of this member was
    /// replaced after a partition or a lost connection. All present values follow; a key that is
    /// not among them is gone.
    Gap,
    /// A key has a value that cannot be decoded.
    Undecodable {
        /// The key.
        key: String,
        /// The reason.
        error: CodecError,
    },
}

/// A change as it waits.
#[derive(Debug)]
enum Raw {
    Put(String, Entry),
    Removed(String, Removal),
}

/// The events of some keys of a map, made by [`Map::watch`](super::Map::watch): an
/// [`Iterator`] that waits, and a [`Stream`]. It ends when the member leaves the group.
#[derive(Debug)]
pub struct MapWatch<V> {
    map: u32,
    prefix: String,
    maps: Replicated<Maps>,
    reader: Reader<Raw>,
    values: PhantomData<fn() -> V>,
}

/// The end of the queue in the thread that applies.
struct Feed {
    map: u32,
    prefix: String,
    inbox: Inbox<Raw>,
    /// Whether anything was fed.
    begun: bool,
    /// Whether the watch goes on with another feed.
    replaced: bool,
}

impl Feed {
    fn follow(&mut self, maps: &Maps) -> Watch {
        match maps.recent() {
            _ if self.inbox.is_closed() => return Watch::Ends,
            Recent::These(keys) if self.begun => {
                for (map, key, removal) in keys {
                    if *map != self.map || !key.starts_with(&self.prefix) {
                        continue;
                    }
                    let raw = match (removal, maps.entry(*map, key)) {
                        (None, Some(entry)) => Raw::Put(key.clone(), entry.clone()),
                        (None, None) => continue,
                        (Some(why), _) => Raw::Removed(key.clone(), *why),
                    };
                    if !self.inbox.offer(raw) {
                        return self.begin_anew();
                    }
                }
            }
            Recent::All if self.begun => return self.begin_anew(),
            Recent::All | Recent::These(_) => {
                for (key, entry) in maps.entries(self.map, &self.prefix) {
                    self.inbox.append(Raw::Put(key.clone(), entry.clone()));
                    self.begun = true;
                }
                // A state that was not there yet is no gap when it comes.
                self.begun |= maps.senior().is_some();
            }
        }
        Watch::GoesOn
    }

    /// Ends this feed; the watch starts another one when it has taken what waits.
    fn begin_anew(&mut self) -> Watch {
        self.inbox.miss();
        self.replaced = true;
        Watch::Ends
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        if !self.replaced {
            self.inbox.close();
        }
    }
}

impl<V: Message> MapWatch<V> {
    pub(super) fn new(map: u32, prefix: &str, maps: Replicated<Maps>) -> MapWatch<V> {
        let (prefix, reader) = (prefix.to_owned(), Reader::new(Inbox::new(QUEUE)));
        let watch = MapWatch { map, prefix, maps, reader, values: PhantomData };
        watch.feed();
        watch
    }

    fn feed(&self) {
        let (prefix, inbox) = (self.prefix.clone(), self.reader.inbox().clone());
        let mut feed = Feed { map: self.map, prefix, inbox, begun: false, replaced: false };
        self.maps.watch(move |maps| feed.follow(maps));
    }

    /// Waits for the next event; `None` after `timeout`, or when the member has left the group.
    pub fn next_timeout(&mut self, timeout: Duration) -> Option<MapEvent<V>> {
        let next = self.reader.next(Instant::now().checked_add(timeout))?;
        self.event(next)
    }

    fn event(&self, next: Next<Raw>) -> Option<MapEvent<V>> {
        Some(match next {
            Next::Message(Raw::Put(key, entry)) => match versioned(&entry) {
                Ok(value) => MapEvent::Put { key, value },
                Err(error) => MapEvent::Undecodable { key, error },
            },
            Next::Message(Raw::Removed(key, why)) => MapEvent::Removed { key, why },
            Next::Gap(_) => {
                self.feed();
                MapEvent::Gap
            }
            Next::End => return None,
        })
    }
}

impl<V: Message> Iterator for MapWatch<V> {
    type Item = MapEvent<V>;

    fn next(&mut self) -> Option<MapEvent<V>> {
        let next = self.reader.next(None)?;
        self.event(next)
    }
}

impl<V: Message> Stream for MapWatch<V> {
    type Item = MapEvent<V>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<MapEvent<V>>> {
        self.reader.poll_next(cx).map(|next| self.event(next))
    }
}

impl<V> Drop for MapWatch<V> {
    fn drop(&mut self) {
        self.reader.inbox().close();
    }
}
