//! The daemon's reports about itself: status, metrics and health.

pub(crate) mod health;
pub(crate) mod inspection;
mod metrics;
pub(crate) mod rate;
pub(crate) mod status;
mod table;
pub(crate) mod views;
