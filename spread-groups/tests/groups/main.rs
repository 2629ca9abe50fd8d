//! Nodes on embedded daemons, with faults.

#[macro_use]
mod support;

mod auditing;
mod barriers;
mod bridging;
mod calling;
mod ending;
mod fences;
mod leading;
mod lifetimes;
mod linearizable;
mod locking;
mod mapping;
mod meshing;
mod nodes;
mod quorums;
mod reacting;
mod reconnecting;
mod registering;
mod replicating;
mod sequences;
mod signals;
mod topics;
mod transferring;
mod versions;
mod views;
mod voting;
mod waiting;
mod working;
