//! Asks the providers of language models: one request, one answer.
//!
//! ```text
//!  ModelRequest ─▶ Catalog: which provider, at which price ─▶ Provider ─▶ its wire format ─▶ HTTP
//!  ModelAnswer  ◀─ assembled from the events of a stream, whose text is forwarded as it comes
//! ```
//! Invariants: a call is made once. Nothing here repeats one: who pays for a call decides that, and keeps
//! account of each. No key leaves this crate but in the header of a request to its provider. Whatever a
//! provider sends is bounded, in bytes and in time. What takes long for a large request is done off the threads
//! that serve connections, and no document of a request is taken apart. What a model says can go back.
//!
//! Knows no session, no journal and no budget.

#![deny(missing_docs)]

mod anthropic;
mod body;
mod breaker;
mod catalog;
mod documents;
mod endpoint;
mod events;
mod offline;
mod openai;
mod parts;
mod prices;
mod provider;
mod work;

pub use anthropic::{ANTHROPIC, Anthropic};
pub use breaker::{Breaker, Open, Shown};
pub use catalog::{Catalog, Entry, ModelPattern, ModelRoute, NoRoute};
pub use endpoint::{CALL_TIMEOUT, InvalidEndpoint, Secret};
pub use offline::Offline;
pub use openai::{OPENAI, OpenAi};
pub use prices::default_price;
pub use provider::{CallFailure, Charge, Forward, Provider, ProviderFuture};
