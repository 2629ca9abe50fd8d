//! Bindings to `libspread`, the C client library of the [Spread toolkit].
//!
//! Functions, types and constants have the names of `sp.h`. What is behind
//! them is chosen by a feature:
//!
//! - `bundled`, the default: the `libspread` crate, in Rust. Nothing needs to
//!   be installed, and no C symbol is defined.
//! - `system`: the libspread that is installed, be it Spread's own or this
//!   project's. It wins over `bundled`. The bindings are made from the header
//!   found, which takes libclang, and a C compiler checks that sizes and constants
//!   in it are those that programs have been written to.
//!
//! # Finding the installed library
//!
//! These variables are looked at in the environment of the build:
//!
//! | variable | meaning |
//! |---|---|
//! | `SPREAD_DIR` | where Spread was installed: with `include/sp.h` and `lib/` in it |
//! | `SPREAD_INCLUDE_DIR` | the folder with `sp.h`, if it is another |
//! | `SPREAD_LIB_DIR` | the folder with the library, if it is another |
//! | `SPREAD_STATIC` | not empty and not `0`: link the static library |
//!
//! Without them, pkg-config is asked for `spread`, and then `/usr/local`, `/usr`,
//! `/opt/spread`, `/usr/local/spread` and `/opt/homebrew` are searched. What is
//! linked is `libspread`, or else `libtspread-core`; never `libspread-core`, which
//! threads cannot use.
//!
//! # For build scripts
//!
//! The build script of a direct dependent is told:
//!
//! | variable | meaning |
//! |---|---|
//! | `DEP_SPREAD_INCLUDE` | the folder with `sp.h`, for C code |
//! | `DEP_SPREAD_LIB` | with `system`: the folder with the library |
//! | `DEP_SPREAD_RUNPATH` | with `system`: that folder, if programs do not find a shared library in it by themselves; pass it on with `cargo::rustc-link-arg=-Wl,-rpath,…` |
//!
//! `src/bindings.rs` is generated from `sp.h` and checked in; a test holds it
//! against the library, so what compiles with the one compiles with the other.
//! Documentation on docs.rs is made from it.
//!
//! [Spread toolkit]: https://www.spread.org

#[cfg(all(feature = "bundled", not(feature = "system")))]
mod bundled;
#[cfg(feature = "system")]
mod system;

#[cfg(all(feature = "bundled", not(feature = "system")))]
pub use bundled::*;
#[cfg(feature = "system")]
pub use system::*;

#[cfg(not(any(feature = "bundled", feature = "system")))]
compile_error!("spread-sys needs a library to bind to: enable its feature `bundled` or `system`");
