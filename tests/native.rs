//! The end-to-end suite over the core of this project.

mod e2e;
mod support;
