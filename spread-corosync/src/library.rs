//! The functions of libcpg, as `corosync/cpg.h` declares them.

use std::ffi::{c_int, c_uint, c_void};

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};

use crate::Error;

/// `struct cpg_name`.
#[repr(C)]
pub(crate) struct Name {
    pub(crate) len: u32,
    pub(crate) value: [u8; 128],
}

/// `struct cpg_address`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Address {
    pub(crate) node: u32,
    pub(crate) pid: u32,
    pub(crate) reason: u32,
}

/// `struct cpg_ring_id`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct RingId {
    pub(crate) node: u32,
    pub(crate) seq: u64,
}

/// `struct iovec`.
#[repr(C)]
pub(crate) struct Part {
    pub(crate) base: *const c_void,
    pub(crate) len: usize,
}

/// `cpg_deliver_fn_t`.
pub(crate) type OnDeliver = unsafe extern "C" fn(u64, *const Name, u32, u32, *mut c_void, usize);

/// `cpg_confchg_fn_t`.
pub(crate) type OnChange = unsafe extern "C" fn(
    u64,
    *const Name,
    *const Address,
    usize,
    *const Address,
    usize,
    *const Address,
    usize,
);

/// `cpg_totem_confchg_fn_t`.
pub(crate) type OnRing = unsafe extern "C" fn(u64, RingId, u32, *const u32);

/// `cpg_model_v1_data_t`.
#[repr(C)]
pub(crate) struct Model {
    pub(crate) model: c_uint,
    pub(crate) deliver: OnDeliver,
    pub(crate) change: OnChange,
    pub(crate) ring: OnRing,
    pub(crate) flags: c_uint,
}

/// The functions. They point into the library, which is closed after them.
pub(crate) struct Functions {
    pub(crate) initialize:
        unsafe extern "C" fn(*mut u64, c_uint, *mut Model, *mut c_void) -> c_uint,
    pub(crate) finalize: unsafe extern "C" fn(u64) -> c_uint,
    pub(crate) fd_get: unsafe extern "C" fn(u64, *mut c_int) -> c_uint,
    pub(crate) local_get: unsafe extern "C" fn(u64, *mut c_uint) -> c_uint,
    pub(crate) join: unsafe extern "C" fn(u64, *const Name) -> c_uint,
    pub(crate) leave: unsafe extern "C" fn(u64, *const Name) -> c_uint,
    pub(crate) mcast_joined: unsafe extern "C" fn(u64, c_uint, *const Part, c_uint) -> c_uint,
    pub(crate) dispatch: unsafe extern "C" fn(u64, c_uint) -> c_uint,
    _library: Library,
}

impl Functions {
    /// Opens the library of this name.
    pub(crate) fn open(name: &str) -> Result<Functions, Error> {
        // SAFETY: The initialisers of libcpg and of libqb, which it uses, set up tables of
        // their own and have no requirements.
        let library = unsafe { Library::open(Some(name), RTLD_NOW | RTLD_LOCAL) };
        let library = library.map_err(|source| Error::Library { name: name.to_owned(), source })?;
        macro_rules! function {
            ($symbol:literal) => {{
                // SAFETY: The type is that of the field, which is that of the declaration in
                // the header of version 4 of the library.
                let found = unsafe { library.get(concat!($symbol, "\0").as_bytes()) };
                *found.map_err(|source| Error::Symbol {
                    name: name.to_owned(),
                    symbol: $symbol,
                    source,
                })?
            }};
        }
        Ok(Functions {
            initialize: function!("cpg_model_initialize"),
            finalize: function!("cpg_finalize"),
            fd_get: function!("cpg_fd_get"),
            local_get: function!("cpg_local_get"),
            join: function!("cpg_join"),
            leave: function!("cpg_leave"),
            mcast_joined: function!("cpg_mcast_joined"),
            dispatch: function!("cpg_dispatch"),
            _library: library,
        })
    }
}
