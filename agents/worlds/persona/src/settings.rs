//! What the configuration of a member says of the person.

use dormouse_sdk::model::Chat;
use dormouse_sdk::prelude::*;

/// | field of `config` | what it says |
/// | --- | --- |
/// | `persona` | who the person is: the instructions of the model |
/// | `name` | the name of the person; the address of the member, such as `people/17`, where it is left out |
/// | `model` | which model is asked; the host's default where it is left out |
/// | `rumour` | the rumour, for those who know it from the beginning |
pub(crate) struct Settings {
    persona: Option<String>,
    pub(crate) name: Option<String>,
    model: Option<String>,
    pub(crate) rumour: Option<String>,
}

impl Settings {
    pub(crate) fn of(host: &Host) -> Result<Settings> {
        Ok(Settings {
            persona: read(host, "persona")?,
            name: read(host, "name")?,
            model: read(host, "model")?,
            rumour: read(host, "rumour")?,
        })
    }

    /// A request to the model that speaks for the person, without a message.
    pub(crate) fn chat<'a>(&self, host: &'a Host) -> Chat<'a> {
        let chat = host.model().chat(self.model.as_deref().unwrap_or_default());
        match &self.persona {
            Some(persona) => chat.system(persona),
            None => chat,
        }
    }
}

/// A text of the configuration. One that is empty is as good as none.
fn read(host: &Host, field: &str) -> Result<Option<String>> {
    let text = host.session().config::<Option<String>>(field);
    let text = text.map_err(|error| Error::invalid(format!("config.{field}: {error}")))?;
    Ok(text.flatten().filter(|text| !text.trim().is_empty()))
}
