//! What the tests of the whole host share: a host in this process, and the real binary in another.
//!
//! Nothing of Dormouse is faked: real agents, a real store in a temporary directory. The clock of a
//! [`TestHost`] is turned by hand. [`load`] is no test: it measures. [`hostile`] is
//! what both tests and benchmarks let clients do to a host.

pub mod client;
pub mod costly;
mod description;
pub mod faults;
pub mod fixture;
pub mod fuzz;
pub mod gate;
pub mod hostile;
pub mod load;
pub mod process;
pub mod provider;
pub mod scripted;
pub mod test_host;
pub mod test_server;
pub mod web;

pub use client::Client;
pub use fixture::unpack;
pub use gate::Gate;
pub use process::Server;
pub use provider::ProviderServer;
pub use scripted::scripted;
pub use test_host::TestHost;
pub use test_server::TestServer;
pub use web::Web;
