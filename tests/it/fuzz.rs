//! What strangers send: components and documents that are broken in ways nobody thought of.
//!
//! `dormouse_tests::fuzz` says how to repeat a run and how to make it longer.

mod components;
mod documents;
mod wasm;

pub(super) use dormouse_tests::fuzz::{Random, cases};
