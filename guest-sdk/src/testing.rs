//! Testing an agent natively, with nothing of WebAssembly.
//!
//! A [`MockHost`] plays the host: it holds what the agent may ask for and records what the agent
//! streams, logs and samples. It gives no fuel account, no time limit and no transactions: an agent under
//! test keeps what a failed turn did to it. [`MockHost::tick`] has an agent take a turn as a member of a simulated world.

mod metrics;
mod mock_host;
mod peers;
mod timers;
mod tools;
mod view;
mod world;

pub use metrics::Sample;
pub use mock_host::MockHost;
pub use peers::Mail;
pub use world::{Event, LogLine};

pub(crate) use world::Backend;
