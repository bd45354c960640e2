//! What everybody needs to know: plain data and pure rules.
//!
//! Nothing here waits, reads a clock, or knows of a store, of a sandbox or of HTTP. The store and the
//! sandbox stand beside each other on it.

#![deny(missing_docs)]

pub mod access;
pub mod account;
pub mod agent;
pub mod ask;
pub mod bill;
pub mod code;
pub mod creation;
pub mod deadline;
pub mod effect;
pub mod egress;
pub mod event;
pub mod group;
pub mod http;
pub mod id;
pub mod inactive;
pub mod journal;
pub mod json;
pub mod limits;
pub mod mail;
pub mod message;
pub mod model;
pub mod patch;
pub mod pattern;
pub mod price;
pub mod residence;
pub mod retention;
pub mod sample;
pub mod schedule;
pub mod session;
pub mod simulation;
pub mod snapshot;
pub mod spelling;
pub mod state;
pub mod template;
pub mod time;
pub mod timer;
pub mod tool;
pub mod trace;
pub mod transition;
pub mod turn;
