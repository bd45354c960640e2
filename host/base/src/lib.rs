//! What all parts of a host share: the clock, the memory budget, the fair queue, rates, circuits, and what the process
//! tells of itself.

#![deny(missing_docs)]

pub mod circuit;
pub mod clock;
pub mod fair_queue;
pub mod memory;
pub mod rate;
pub mod round_robin;
pub mod shares;
pub mod telemetry;
