//! Events for the crate `tracing`, at the level `debug`; nothing without the feature of that
//! name.
//!
//! An error is also returned to the caller. The events are for those who read the log of a
//! program that does not print its errors.

use spread_wire::PrivateGroup;

use crate::{Error, Library};

/// What an event is about.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(feature = "tracing"), expect(dead_code, reason = "only a subscriber reads it"))]
pub(crate) enum Event<'a> {
    Connected {
        address: &'a str,
        library: Library,
    },
    /// What failed, and why.
    Failed {
        what: &'static str,
        error: &'a Error,
    },
    Disconnected,
    ShutDown,
    /// The last handle is gone, without a disconnect.
    Dropped,
}

#[cfg(feature = "tracing")]
pub(crate) fn event(me: PrivateGroup, event: Event<'_>) {
    use tracing::debug;

    match event {
        Event::Connected { address, library } => debug!(%me, address, ?library, "connected"),
        Event::Failed { what, error } => {
            debug!(%me, error = error as &dyn std::error::Error, "{what} failed");
        }
        Event::Disconnected => debug!(%me, "disconnected"),
        Event::ShutDown => debug!(%me, "shut down"),
        Event::Dropped => debug!(%me, "dropped"),
    }
}

#[cfg(not(feature = "tracing"))]
pub(crate) fn event(_: PrivateGroup, _: Event<'_>) {}

/// A connect that failed has no name yet.
pub(crate) fn connect_failed(address: &str, error: &Error) {
    #[cfg(feature = "tracing")]
    tracing::debug!(address, error = error as &dyn std::error::Error, "connect failed");
    #[cfg(not(feature = "tracing"))]
    let _ = (address, error);
}
