//! What goes over the wire, as serde structs: `request`, `create` and `query` have what is asked, the others
//! what is answered. Each has a schema, and the description of the API is made of them (`openapi.rs`).
//!
//! The names are a contract. Types of the domain do not appear here but as what they are made from.

pub(super) mod agent;
pub(super) mod agent_stream;
pub(super) mod cleanup;
pub(super) mod create;
pub(super) mod error;
pub(super) mod event;
pub(super) mod experiment;
pub(super) mod facade;
pub(super) mod health;
pub(super) mod ignored;
pub(super) mod key;
pub(super) mod listing;
pub(super) mod message;
pub(super) mod part;
pub(super) mod patch;
pub(super) mod payload;
pub(super) mod query;
pub(super) mod reading;
pub(super) mod request;
pub(super) mod sample;
pub(super) mod schedule;
#[cfg(test)]
mod schemas;
pub(super) mod session;
pub(super) mod simulation;
pub(super) mod snapshot;
pub(super) mod statistics;
pub(super) mod template;
pub(super) mod timer;
pub(super) mod trace;
pub(super) mod turn;
pub(super) mod usage;
pub(super) mod value;
pub(super) mod workspace;
