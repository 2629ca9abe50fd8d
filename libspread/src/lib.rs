//! A drop-in for `libspread`, the C client library of the [Spread toolkit].
//!
//! The functions have the C interface of the original, as described in its
//! manual pages and in `include/sp.h`; beneath them is
//! [`spread_wire`] and safe Rust. They are reached in two ways:
//!
//! - as Rust functions of this crate, through which `spread-sys` bundles the
//!   library with a Rust program;
//! - as C symbols, with the feature `capi`, from a shared or static library, which
//!   `install.sh` builds and installs, and `cargo cinstall` does.
//!
//! Without the feature no C symbol is exported, so that this library and the
//! original can live in one process.
//!
//! ```no_run
//! use std::ptr::null;
//!
//! let mut mbox = -1;
//! let mut private_group = [0; libspread::MAX_GROUP_NAME as usize];
//! // SAFETY: the name ends in a zero, the results have room.
//! let code = unsafe {
//!     libspread::SP_connect(
//!         c"4803@localhost".as_ptr(),
//!         null(),
//!         0,
//!         1,
//!         &mut mbox,
//!         private_group.as_mut_ptr(),
//!     )
//! };
//! assert_eq!(code, libspread::ACCEPT_SESSION);
//! // SAFETY: takes a number only.
//! unsafe { libspread::SP_disconnect(mbox) };
//! ```
//!
//! # What a caller can rely on
//!
//! - A mailbox is a descriptor that polls readable whenever a message can be
//!   received. The queue of the kernel begins with a whole message or with the
//!   one that is on its way: a frame leaves it in one piece, and as long as a
//!   whole message waits in the library, the queue is not empty. So who finds a
//!   whole frame at the head of the queue can receive without blocking. But do
//!   not insist on a whole frame if it is large: one of more than some 25 KB can
//!   be too much for the window of TCP, and comes only as far as it is received.
//!   Take it off the queue in pieces then, the last one included; the library keeps
//!   nothing of a message of which it has seen a part.
//! - Every function may be called from every thread. [`SP_kill`] wakes the
//!   threads that wait in other functions of the mailbox, and the number of
//!   its descriptor is not used again before they are out.
//! - A number that is no mailbox is [`ILLEGAL_SESSION`], and the descriptor
//!   behind it is left alone.
//! - After [`CONNECTION_CLOSED`] a mailbox answers [`NET_ERROR_ON_SESSION`]
//!   until it is killed.
//! - The child of a `fork` does not own its parent's mailboxes: there they are
//!   [`ILLEGAL_SESSION`]. It may connect by itself. (A child by `vfork` or by
//!   a bare `clone` goes unnoticed.)
//! - No signal is raised and no disposition changed; descriptors do not
//!   survive `exec`.
//! - A panic does not cross into C: the call returns [`SP_BUG`].
//!
//! [Spread toolkit]: https://www.spread.org

mod api;
mod auth;
mod connect;
mod convert;
mod events;
mod gate;
mod held;
mod membership;
mod receive;
mod session;
mod table;
mod types;
mod wait;

pub use api::auth::{SP_set_auth_method, SP_set_auth_methods};
pub use api::event::{
    E_activate_fd, E_add_time, E_attach_fd, E_compare_time, E_deactivate_fd, E_delay, E_dequeue,
    E_detach_fd, E_detach_fd_priority, E_exit_events, E_exit_events_async_safe, E_get_time,
    E_get_time_monotonic, E_handle_events, E_in_queue, E_init, E_neg_time, E_num_active, E_queue,
    E_set_active_threshold, E_sub_time,
};
pub use api::message::{
    SP_multicast, SP_multigroup_multicast, SP_multigroup_scat_multicast, SP_receive,
    SP_scat_multicast, SP_scat_receive,
};
pub use api::rust::{message_ready, multicast_frames};
pub use api::view::{
    SP_get_memb_info, SP_get_vs_set_members, SP_get_vs_sets_info, SP_scat_get_memb_info,
    SP_scat_get_vs_set_members, SP_scat_get_vs_sets_info,
};
pub use api::{
    SP_connect, SP_connect_timeout, SP_disconnect, SP_equal_group_ids, SP_error, SP_join, SP_kill,
    SP_leave, SP_poll, SP_strerror, SP_version,
};
pub use types::*;
