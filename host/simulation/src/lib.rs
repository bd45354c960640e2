//! Simulations: worlds of many members, reproducible to the bit.
//!
//! A [`World`] is made of a specification ([`spec::WorldSpec`]) and of components that are populations. Its members have
//! roles; those of one role are rows of a population, thousands in one instance. It goes on tick by tick ([`World::tick`]), and its
//! [fingerprint](World::fingerprint) tells whether two worlds are the same: neither the number of rows in an instance nor
//! the number of threads changes a bit of it. A role may have members that are sessions instead: each is an agent, which has a turn
//! in each tick in which it acts, and may ask language models; what these answer is recorded ([`Answers`]).
//!
//! It knows no session, no HTTP and no agents by name: whoever makes a world hands in the code of its populations.

mod aggregate;
mod attributes;
mod bundle;
mod chance;
mod experiment;
mod fingerprint;
mod recording;
mod router;
mod space;
pub mod spec;
mod topology;
mod view;
mod world;

pub use bundle::{AggregateValue, Bundle, BundleError, Record};
pub use experiment::{Design, Experiment, Run, Seeds, ValueRange, Values, csv_field, table_names};
pub use fingerprint::Fingerprint;
pub use recording::{
    Answers, Asking, LiveAnswer, Models, RecordedCall, RequestDigest, read_calls, write_calls,
};
pub use spec::{SpecError, WorldSpec};
pub use world::{CallTotals, Keyframe, MadeOf, Places, TickSummary, World, WorldError};
