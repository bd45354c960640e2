//! All that a usual agent needs: `use dormouse_sdk::prelude::*;`.
//!
//! [`Serialize`] and [`Deserialize`] are serde's, traits and derives. The derives write paths that
//! begin with `serde`, so a crate that uses them lists serde among its own dependencies.

pub use crate::{
    agent::Agent,
    export_agent,
    handler::{Blob, Error, Json, Part, Reply, Request, Result, Sender, Turn},
    host::Host,
};
pub use serde::{Deserialize, Serialize};
pub use serde_json::{Value, json};
