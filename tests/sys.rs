//! The end-to-end suite over libspread: that of this project, or with the feature `system`
//! the one that is installed.

mod e2e;
mod support;
