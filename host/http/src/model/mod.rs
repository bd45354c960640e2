//! What goes over the wire: requests read field by field, answers as serde structs.
//!
//! The names are a contract. Types of the domain do not appear here but as what they are made from.

pub(super) mod agent;
pub(super) mod create;
pub(super) mod error;
pub(super) mod event;
pub(super) mod fields;
pub(super) mod message;
pub(super) mod part;
pub(super) mod session;
pub(super) mod snapshot;
pub(super) mod template;
pub(super) mod turn;
