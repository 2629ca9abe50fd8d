//! The daemon's reports about itself: status, metrics and health.

pub(crate) mod inspection;
pub(crate) mod rate;
pub(crate) mod status;
mod table;
pub(crate) mod views;
