//! What users of other systems look for, call by call.

#[doc = include_str!("../docs/coming-from-etcd.md")]
pub mod etcd {}

#[cfg(feature = "dividere")]
#[doc = include_str!("../docs/coming-from-dividere.md")]
pub mod dividere {}

#[doc = include_str!("../docs/coming-from-riaps.md")]
pub mod riaps {}

#[doc = include_str!("../docs/coming-from-quilt.md")]
pub mod quilt {}

#[doc = include_str!("../docs/coming-from-nats.md")]
pub mod nats {}

#[doc = include_str!("../docs/coming-from-jgroups.md")]
pub mod jgroups {}
