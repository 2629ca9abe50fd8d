//! A drop-in for `libspread`, the C client library of the [Spread toolkit].
//!
//! The functions have the C interface of the original, as described in its manual pages and
//! in `include/sp.h`. They are a thin skin over [`spread_core`]: C arguments to Rust values
//! and back, the table of mailboxes, and the event loop. They are reached in two ways:
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
//! **Readiness.** A mailbox is a descriptor that polls readable while a message can be
//! received, although the library reads ahead. While a whole message is undelivered, the
//! socket's queue is not empty. What has come of a message that is not whole is taken off the
//! queue, so the descriptor does not poll readable for it again and again. A message that is
//! too short of memory for the caller stays, and the descriptor readable.
//!
//! **Threads.** Every function may be called from every thread.
//! - No lock is held while a call waits. Several threads may send, receive and poll in one
//!   mailbox; each message is received whole by one of them.
//! - [`SP_kill`] and [`SP_disconnect`] end the calls that wait in the mailbox. These and all
//!   later ones return [`ILLEGAL_SESSION`]. No call receives a message after [`SP_kill`]
//!   has returned or [`SP_disconnect`] has begun.
//! - The number of a mailbox is not used again before all calls have left it.
//! - [`SP_disconnect`] takes one second at most, whatever the daemon does.
//!
//! **Cancellation.** A thread may be cancelled (`pthread_cancel(3)`) while it waits in any
//! function, and in a callback or an authentication function. It ends alone: the mailbox,
//! the others and the event loop go on, and no descriptor is left open.
//! - A message whose sending had begun is completed before the next one is sent.
//! - A cancelled receive loses nothing: the next receive gets the message.
//! - A cancelled disconnect closes the mailbox at once.
//!
//! A signal handler may leave a function by `siglongjmp(3)` while that waits. What the call
//! held is released by the next call of the thread that can wait, or by [`SP_kill`].
//!
//! **Fork.** The child of a `fork` can use its parent's mailboxes, with what was received
//! ahead; so a program may connect and then become a daemon. Only one of the processes
//! should go on with a mailbox.
//! - [`SP_kill`] in the other one only closes the descriptor, unless a thread of that process
//!   is inside the mailbox: to wake it, the connection is shut down, which ends it for all.
//! - [`SP_disconnect`] ends it for all.
//! - A mailbox in which another thread was receiving or sending at the moment of the fork,
//!   rather than waiting, has failed in the child: [`NET_ERROR_ON_SESSION`].
//! - A child by `vfork` or by a bare `clone` goes unnoticed.
//!
//! **Errors.** A number that is no mailbox is [`ILLEGAL_SESSION`], and the descriptor behind
//! it is left alone. After [`CONNECTION_CLOSED`] a mailbox returns [`NET_ERROR_ON_SESSION`]
//! until it is killed or disconnected. A panic does not cross into C: the call returns
//! [`SP_BUG`].
//!
//! **The process.** No signal is raised and no disposition changed; descriptors do not
//! survive `exec`. To look a host name up a connect starts a thread. What [`SP_error`] prints
//! goes through C's `stdout`.
//!
//! [Spread toolkit]: https://www.spread.org

mod api;
mod auth;
mod connect;
mod convert;
mod events;
mod flush;
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
pub use api::flush::multicast::{
    FL_multicast, FL_scat_multicast, FL_scat_subgroupcast, FL_scat_unicast, FL_subgroupcast,
    FL_unicast,
};
pub use api::flush::receive::{FL_receive, FL_scat_receive};
pub use api::flush::{
    FL_connect, FL_disconnect, FL_error, FL_flush, FL_get_gid_offset_memb_mess,
    FL_get_num_vs_offset_memb_mess, FL_get_vs_set_offset_memb_mess, FL_join, FL_leave, FL_lib_init,
    FL_more_msgs, FL_poll, FL_version,
};
pub use api::message::{
    SP_multicast, SP_multigroup_multicast, SP_multigroup_scat_multicast, SP_receive,
    SP_scat_multicast, SP_scat_receive,
};
pub use api::view::{
    SP_get_memb_info, SP_get_vs_set_members, SP_get_vs_sets_info, SP_scat_get_memb_info,
    SP_scat_get_vs_set_members, SP_scat_get_vs_sets_info,
};
pub use api::{
    SP_connect, SP_connect_timeout, SP_disconnect, SP_equal_group_ids, SP_error, SP_join, SP_kill,
    SP_leave, SP_poll, SP_strerror, SP_version,
};
pub use types::*;
