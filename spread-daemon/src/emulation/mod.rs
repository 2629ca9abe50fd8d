//! Several daemons in one process, for tests of programs that must live through
//! partitions and crashes.

mod cluster;
mod faults;

pub use cluster::{Cluster, ClusterBuilder};
