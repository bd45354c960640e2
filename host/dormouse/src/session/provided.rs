//! What the host has for a session: who answers for its model, and which tools it asks for in vain.

use super::answering::AnsweringModel;
use crate::gate::Outside;
use dormouse_domain::session::Session;

/// What the host has for a session, as the host is configured now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Provided {
    /// Which model answers its agent. `None`: no provider has the one of its configuration.
    pub model: Option<AnsweringModel>,
    /// The tools in `allowedTools` of its configuration that the host knows by name and does not have for it, each once.
    pub unavailable_tools: Vec<String>,
}

impl Provided {
    pub(crate) fn of(session: &Session, outside: &Outside) -> Provided {
        Provided {
            model: AnsweringModel::of(session, &outside.models),
            unavailable_tools: outside.unavailable_tools(session),
        }
    }
}
