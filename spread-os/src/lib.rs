//! The few calls of the Spread client crates that have no safe wrapper elsewhere.
//!
//! - [`generation`] counts the forks between the first process and this one.
//! - [`PerProcess`] is a static value that the child of a fork makes anew.
//! - `tokio::Registered` (feature `tokio`) registers a descriptor with the runtime.

mod fork;
#[cfg(feature = "tokio")]
pub mod tokio;

pub use fork::{PerProcess, generation};
