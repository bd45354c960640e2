//! Who answers where the agent of a session asks for the model that its configuration names.

use dormouse_domain::session::{JsonObject, Session};
use dormouse_model::Catalog;

/// The name of a model has so many bytes at most, by the contract with agents.
const MAX_NAME: usize = 255;

/// The model that answers for the name in `config.model` of a session, or for its default, as the host is
/// configured now. The agent may ask for another one, or for none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnsweringModel {
    /// The name of the model, as its provider has it.
    pub name: String,
    /// The name of the provider.
    pub provider: String,
}

impl AnsweringModel {
    /// `None`: no provider has the model.
    pub(crate) fn of(session: &Session, models: &Catalog) -> Option<AnsweringModel> {
        let name = named(&session.profile.config).filter(|name| name.len() <= MAX_NAME)?;
        let route = models.route(name).ok()?;
        let provider = route.provider.name().to_owned();
        Some(AnsweringModel { name: route.model, provider })
    }
}

/// The name that this configuration has; empty for the default. `None`: it has something else in its place.
fn named(config: &JsonObject) -> Option<&str> {
    match config.get("model") {
        None => Some(""),
        Some(value) if value.is_null() => Some(""),
        Some(value) => value.as_str(),
    }
}
