//! Holds the checked-in bindings against the library in use: whoever compiles with
//! the one must compile with the other, and mean the same.

use std::ffi::{c_int, c_void};
use std::mem::{align_of, offset_of, size_of};

#[path = "../src/bindings.rs"]
#[rustfmt::skip]
#[allow(dead_code, missing_docs, non_camel_case_types, unreachable_pub)]
mod bindings;

const SOURCE: &str = include_str!("../src/bindings.rs");

/// How often the bindings declare something that way.
fn declared(keyword: &str) -> usize {
    SOURCE.lines().filter(|line| line.trim_start().starts_with(keyword)).count()
}

type AuthFunction = unsafe extern "C" fn(c_int, *mut c_void) -> c_int;
type TimeFunction = unsafe extern "C" fn(c_int, *mut c_void);
type FdFunction = unsafe extern "C" fn(c_int, c_int, *mut c_void);

/// Compiles if both have the functions, with these types, in which structs
/// are each side's own; counts the functions.
///
/// An ABI is that of the bundled library; to a caller all functions are those of C.
macro_rules! functions {
    ($($name:ident: $(extern $abi:literal)? fn($($argument:ty),*) $(-> $result:ty)?;)*) => {
        // Generic and never used, so that no C symbol needs to be there.
        mod of_bindings {
            use super::{AuthFunction, FdFunction, TimeFunction, bindings::*};
            use std::ffi::*;

            #[allow(dead_code, clippy::extra_unused_type_parameters)]
            fn agree<T>() {
                $(let _: unsafe extern "C" fn($($argument),*) $(-> $result)? = $name;)*
            }
        }

        mod of_library {
            use super::{AuthFunction, FdFunction, TimeFunction};
            use spread_sys::*;
            use std::ffi::*;

            #[cfg(feature = "system")]
            #[allow(dead_code, clippy::extra_unused_type_parameters)]
            fn agree<T>() {
                $(let _: unsafe extern "C" fn($($argument),*) $(-> $result)? = $name;)*
            }

            #[cfg(not(feature = "system"))]
            #[allow(dead_code, missing_abi, clippy::extra_unused_type_parameters)]
            fn agree<T>() {
                $(let _: unsafe extern $($abi)? fn($($argument),*) $(-> $result)? = $name;)*
            }
        }

        const FUNCTIONS: &[&str] = &[$(stringify!($name)),*];
    };
}

functions! {
    SP_version: fn(*mut c_int, *mut c_int, *mut c_int) -> c_int;
    SP_connect: extern "C-unwind" fn(*const c_char, *const c_char, c_int, c_int, *mut mailbox, *mut c_char) -> c_int;
    SP_connect_timeout:
        extern "C-unwind" fn(*const c_char, *const c_char, c_int, c_int, *mut mailbox, *mut c_char, sp_time) -> c_int;
    SP_disconnect: extern "C-unwind" fn(mailbox) -> c_int;
    SP_kill: fn(mailbox);
    SP_join: extern "C-unwind" fn(mailbox, *const c_char) -> c_int;
    SP_leave: extern "C-unwind" fn(mailbox, *const c_char) -> c_int;
    SP_multicast: extern "C-unwind" fn(mailbox, service, *const c_char, c_short, c_int, *const c_char) -> c_int;
    SP_multigroup_multicast:
        extern "C-unwind" fn(mailbox, service, c_int, *const [c_char; 32], c_short, c_int, *const c_char) -> c_int;
    SP_receive:
        extern "C-unwind" fn(
            mailbox,
            *mut service,
            *mut c_char,
            c_int,
            *mut c_int,
            *mut [c_char; 32],
            *mut c_short,
            *mut c_int,
            c_int,
            *mut c_char
        ) -> c_int;
    SP_scat_multicast: extern "C-unwind" fn(mailbox, service, *const c_char, c_short, *const scatter) -> c_int;
    SP_multigroup_scat_multicast:
        extern "C-unwind" fn(mailbox, service, c_int, *const [c_char; 32], c_short, *const scatter) -> c_int;
    SP_scat_receive:
        extern "C-unwind" fn(
            mailbox,
            *mut service,
            *mut c_char,
            c_int,
            *mut c_int,
            *mut [c_char; 32],
            *mut c_short,
            *mut c_int,
            *mut scatter
        ) -> c_int;
    SP_get_memb_info: fn(*const c_char, service, *mut membership_info) -> c_int;
    SP_get_vs_sets_info: fn(*const c_char, *mut vs_set_info, c_int, *mut c_uint) -> c_int;
    SP_get_vs_set_members:
        fn(*const c_char, *const vs_set_info, *mut [c_char; 32], c_int) -> c_int;
    SP_scat_get_memb_info: fn(*const scatter, service, *mut membership_info) -> c_int;
    SP_scat_get_vs_sets_info: fn(*const scatter, *mut vs_set_info, c_int, *mut c_uint) -> c_int;
    SP_scat_get_vs_set_members:
        fn(*const scatter, *const vs_set_info, *mut [c_char; 32], c_int) -> c_int;
    SP_set_auth_method: fn(*const c_char, Option<AuthFunction>, *mut c_void) -> c_int;
    SP_set_auth_methods:
        fn(c_int, *mut *const c_char, *mut Option<AuthFunction>, *mut *mut c_void) -> c_int;
    SP_poll: fn(mailbox) -> c_int;
    SP_equal_group_ids: fn(group_id, group_id) -> c_int;
    SP_strerror: fn(c_int) -> *const c_char;
    SP_error: fn(c_int);
    E_init: fn() -> c_int;
    E_get_time: fn() -> sp_time;
    E_get_time_monotonic: fn() -> sp_time;
    E_neg_time: fn(sp_time) -> sp_time;
    E_add_time: fn(sp_time, sp_time) -> sp_time;
    E_sub_time: fn(sp_time, sp_time) -> sp_time;
    E_compare_time: fn(sp_time, sp_time) -> c_int;
    E_queue: fn(Option<TimeFunction>, c_int, *mut c_void, sp_time) -> c_int;
    E_in_queue: fn(Option<TimeFunction>, c_int, *mut c_void) -> c_int;
    E_dequeue: fn(Option<TimeFunction>, c_int, *mut c_void) -> c_int;
    E_delay: extern "C-unwind" fn(sp_time);
    E_attach_fd: fn(c_int, c_int, Option<FdFunction>, c_int, *mut c_void, c_int) -> c_int;
    E_detach_fd: fn(c_int, c_int) -> c_int;
    E_detach_fd_priority: fn(c_int, c_int, c_int) -> c_int;
    E_activate_fd: fn(c_int, c_int) -> c_int;
    E_deactivate_fd: fn(c_int, c_int) -> c_int;
    E_set_active_threshold: fn(c_int) -> c_int;
    E_num_active: fn(c_int) -> c_int;
    E_handle_events: extern "C-unwind" fn();
    E_exit_events: fn();
    E_exit_events_async_safe: fn();
}

#[test]
fn every_function_is_compared() {
    assert_eq!(FUNCTIONS.len(), declared("pub fn "));
}

fn field_size<S, F>(_: impl Fn(&S) -> &F) -> usize {
    size_of::<F>()
}

/// Compares size and alignment, and size and place of every field.
macro_rules! structs {
    ($($name:ident { $($field:ident),* })*) => {
        #[test]
        fn structs_are_laid_out_alike() {
            $(
                assert_eq!(size_of::<bindings::$name>(), size_of::<spread_sys::$name>());
                assert_eq!(align_of::<bindings::$name>(), align_of::<spread_sys::$name>());
                $(
                    let place = offset_of!(bindings::$name, $field);
                    assert_eq!(place, offset_of!(spread_sys::$name, $field));
                    let size = field_size(|s: &bindings::$name| &s.$field);
                    assert_eq!(size, field_size(|s: &spread_sys::$name| &s.$field));
                )*
                // Compiles if these are all the fields.
                let _ = |bindings::$name { $($field: _),* }: bindings::$name| ();
                let _ = |spread_sys::$name { $($field: _),* }: spread_sys::$name| ();
            )*
            assert_eq!([$(stringify!($name)),*].len(), declared("pub struct "));
        }
    };
}

structs! {
    scat_element { buf, len }
    scatter { num_elements, elements }
    group_id { id }
    vs_set_info { num_members, members_offset }
    membership_info { gid, changed_member, num_vs_sets, my_vs_set }
    sp_time { sec, usec }
}

fn same<T: PartialEq + std::fmt::Debug>(name: &str, of_bindings: T, of_library: T) {
    assert_eq!(of_bindings, of_library, "{name}");
}

macro_rules! constants {
    ($($name:ident)*) => {
        #[test]
        fn constants_have_the_same_type_and_value() {
            $(same(stringify!($name), bindings::$name, spread_sys::$name);)*
            assert_eq!([$(stringify!($name)),*].len(), declared("pub const "));
        }
    };
}

constants! {
    ACCEPT_SESSION AGREED_MESS BUFFER_TOO_SHORT CAUSAL_MESS CAUSED_BY_DISCONNECT CAUSED_BY_JOIN
    CAUSED_BY_LEAVE CAUSED_BY_NETWORK CONNECTION_CLOSED COULD_NOT_CONNECT DEFAULT_SPREAD_PORT
    DROP_RECV ENDIAN_RESERVED EXCEPT_FD FIFO_MESS GROUPS_TOO_SHORT HIGH_PRIORITY ILLEGAL_GROUP
    ILLEGAL_MESSAGE ILLEGAL_SERVICE ILLEGAL_SESSION ILLEGAL_SPREAD ILLEGAL_TIME LOW_PRIORITY
    MAX_CLIENT_SCATTER_ELEMENTS MAX_FD_EVENTS MAX_GROUP_NAME MAX_PRIVATE_NAME MAX_PROC_NAME
    MEDIUM_PRIORITY MEMBERSHIP_MESS MESSAGE_TOO_LONG NET_ERROR_ON_SESSION NUM_FDTYPES
    NUM_PRIORITY READ_FD REGULAR_MESS REG_MEMB_MESS REJECT_AUTH REJECT_ILLEGAL_NAME REJECT_MESS
    REJECT_NOT_UNIQUE REJECT_NO_NAME REJECT_QUOTA REJECT_VERSION RELIABLE_MESS RESERVED
    SAFE_MESS SELF_DISCARD SPREAD_VERSION SP_BUG TRANSITION_MESS UNRELIABLE_MESS WRITE_FD
}

/// Compiles if both are the same types.
#[test]
fn plain_types_are_the_same() {
    let _: [*const bindings::mailbox; 0] = [] as [*const spread_sys::mailbox; 0];
    let _: [*const bindings::service; 0] = [] as [*const spread_sys::service; 0];
    assert_eq!(declared("pub type "), 2);
}
