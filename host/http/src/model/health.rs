//! What the server says of itself.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

/// What there is.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Root {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    pub(crate) description: &'static str,
    /// Paths, by what they are about.
    pub(crate) api: BTreeMap<&'static str, &'static str>,
    /// Paths for operators.
    pub(crate) health: Vec<&'static str>,
}

/// The server answers.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Health {
    pub(crate) status: HealthWord,
}

#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(crate) enum HealthWord {
    /// It answers.
    Ok,
}

/// The server takes work.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Readiness {
    pub(crate) status: ReadinessWord,
    /// How long what is due for sessions has been waiting to be looked at.
    pub(crate) timekeeper_lag_seconds: f64,
}

#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(crate) enum ReadinessWord {
    /// It takes work.
    Ready,
}
