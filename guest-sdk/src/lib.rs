//! Write agents for Dormouse in Rust.
//!
//! An agent is a type that implements [`Agent`] and is named once by [`export_agent!`]. The modules
//! mirror the contract in `wit/` file for file: [`handler`] is what an agent does, [`state`] what it
//! keeps, and [`session`], [`output`], [`log`], [`metrics`], [`model`], [`tools`], [`files`], [`timers`] and [`peers`] are what it may
//! ask of its host through [`Host`]. Members of simulated worlds are agents, for which there is [`world`], or rows of a
//! [`population`].
//!
//! The raw bindings are private. They exist only in a component; built for any other target, an
//! agent runs against `testing::MockHost`, which makes unit tests ordinary tests.
#![doc = ""]
// Not in components, which would else be built again whenever the text changes.
#![cfg_attr(not(target_arch = "wasm32"), doc = include_str!("../README.md"))]
#![deny(missing_docs)]
// The README shows a whole source file, its tests included.
#![allow(clippy::test_attr_in_doctest)]

pub mod agent;
pub mod files;
pub mod handler;
pub mod host;
pub mod log;
pub mod metrics;
pub mod model;
pub mod output;
pub mod peers;
pub mod population;
pub mod prelude;
pub mod random;
pub mod session;
pub mod state;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
pub mod timers;
pub mod todo;
pub mod tools;
pub mod world;

#[cfg(target_arch = "wasm32")]
mod bindings;
#[cfg(target_arch = "wasm32")]
mod export;

pub use agent::Agent;
pub use handler::{Blob, Error, Json, Part, Reply, Request, Result, Sender, Turn};
pub use host::Host;

/// The examples of the guide are compiled.
#[cfg(doctest)]
#[doc = include_str!("../../docs/tools.md")]
struct GuideToTools;

#[cfg(doctest)]
#[doc = include_str!("../../docs/simulations.md")]
struct GuideToSimulations;

/// What [`export_agent!`] expands to. No part of the interface: it changes without notice.
#[doc(hidden)]
pub mod __private {
    #[cfg(target_arch = "wasm32")]
    pub use crate::{
        bindings::{handler, population, state},
        export::{Exported, ExportedPopulation, ExportedState, Slot},
    };

    /// Checks natively what the export of an agent needs.
    #[cfg(not(target_arch = "wasm32"))]
    pub const fn check_agent<A: crate::Agent>() {}

    /// Checks natively what the export of a population needs.
    #[cfg(not(target_arch = "wasm32"))]
    pub const fn check_population<P: crate::population::Population>() {}

    /// Checks natively what the export of an agent with portable state needs.
    #[cfg(not(target_arch = "wasm32"))]
    pub const fn check_portable<A>()
    where
        A: crate::Agent + serde::Serialize + serde::de::DeserializeOwned,
    {
    }
}
