//! Simulations: worlds of many members, reproducible to the bit.
//!
//! A [`World`] is made of a specification ([`spec::WorldSpec`]) and of components that are populations. Its members have
//! roles; those of one role are rows of a population, thousands in one instance. It goes on tick by tick ([`World::tick`]), and its
//! [fingerprint](World::fingerprint) tells whether two worlds are the same: neither the number of rows in an instance nor
//! the number of threads changes a bit of it.
//!
//! It knows no session, no HTTP and no agents by name: whoever makes a world hands in the code of its populations.

mod aggregate;
mod attributes;
mod bundle;
mod chance;
mod experiment;
mod fingerprint;
mod router;
pub mod spec;
mod topology;
mod view;
mod world;

pub use bundle::{AggregateValue, Bundle, BundleError, Record};
pub use experiment::{Design, Experiment, Run, Seeds};
pub use fingerprint::Fingerprint;
pub use spec::{SpecError, WorldSpec};
pub use world::{Keyframe, MadeOf, Places, TickSummary, World, WorldError};
