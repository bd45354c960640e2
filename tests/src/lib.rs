//! What the tests of the whole host share: a host in this process, and the real binary in another.
//!
//! Nothing of Dormouse is faked: real agents, a real store in a temporary directory. The clock of a
//! [`TestHost`] is turned by hand.

pub mod client;
pub mod process;
pub mod test_host;

pub use client::Client;
pub use process::Server;
pub use test_host::TestHost;
