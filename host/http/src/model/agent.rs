//! An agent as clients see it.

use schemars::JsonSchema;
use serde::Serialize;

use super::error::ErrorBody;
use super::value::{Time, Word};
use dormouse::{Agent, AgentOwner, AgentRef, Statefulness, UploadState, Visibility};
use dormouse_domain::agent::{ComponentKind, StartRandomness};

/// An agent.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Agent")]
pub(crate) struct AgentBody {
    /// Who uploaded it: what stands before the name, as `owner/name`, where others use it. `null` for
    /// those of the host.
    owner: Option<String>,
    name: String,
    version: String,
    /// The name of its component: what its bytes are.
    digest: String,
    /// Bytes of the component.
    size: u64,
    /// `agent` exports a handler; `command` is a program, which runs once in an ephemeral session; `population` has
    /// members of simulations, and serves no session.
    kind: AgentKind,
    /// The interfaces that it imports.
    imports: Vec<String>,
    capabilities: Vec<String>,
    /// How its state outlives an instance: `portable`, `image`, `unsaved` with the reason, or
    /// `stateless`.
    statefulness: StatefulnessWord,
    unsaved_reason: Option<String>,
    /// What an instance uses to start.
    start_fuel: u64,
    /// Whether its instances draw the same random bytes while they start: `shared` or `none`.
    #[schemars(with = "Word<StartRandomness>")]
    start_randomness: &'static str,
    /// How long it took to compile.
    compile_ms: u64,
    #[schemars(with = "Time")]
    uploaded_at: String,
    /// Whether it comes with the host.
    bundled: bool,
    /// Who can name it: `private`, its owner alone; `public`, everybody.
    #[schemars(with = "Word<Visibility>")]
    visibility: &'static str,
    /// `ready`: of an upload that is not, an `Upload` is told.
    state: UploadWord,
}

impl From<Agent> for AgentBody {
    fn from(agent: Agent) -> AgentBody {
        let bundled = agent.is_bundled();
        let (statefulness, unsaved_reason) = match agent.component.statefulness {
            Statefulness::Portable => (StatefulnessWord::Portable, None),
            Statefulness::Image => (StatefulnessWord::Image, None),
            Statefulness::Unsaved(why) => (StatefulnessWord::Unsaved, Some(why)),
            Statefulness::Stateless => (StatefulnessWord::Stateless, None),
        };
        AgentBody {
            bundled,
            state: UploadWord::Ready,
            visibility: match &agent.reference.owner {
                AgentOwner::Host => Visibility::Public.as_str(),
                AgentOwner::Principal(_) => agent.visibility.as_str(),
            },
            owner: agent.reference.owner.principal().map(ToString::to_string),
            name: agent.reference.name.to_string(),
            version: agent.reference.version.to_string(),
            digest: agent.reference.digest.to_string(),
            size: agent.size,
            kind: match agent.component.exports.kind() {
                Some(ComponentKind::Agent) | None => AgentKind::Agent,
                Some(ComponentKind::Command) => AgentKind::Command,
                Some(ComponentKind::Population) => AgentKind::Population,
            },
            imports: agent.component.imports,
            capabilities: agent.component.capabilities,
            statefulness,
            unsaved_reason,
            start_fuel: agent.component.start_fuel,
            start_randomness: agent.component.start_randomness.as_str(),
            compile_ms: agent.compile_ms,
            uploaded_at: agent.uploaded_at.to_string(),
        }
    }
}

/// What answers the messages of a session.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
enum AgentKind {
    Agent,
    Command,
    Population,
}

#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
enum StatefulnessWord {
    Portable,
    Image,
    Unsaved,
    Stateless,
}

/// How far an upload has come.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(crate) enum UploadWord {
    Compiling,
    Ready,
    Refused,
}

impl From<&UploadState> for UploadWord {
    fn from(state: &UploadState) -> UploadWord {
        match state {
            UploadState::Compiling => UploadWord::Compiling,
            UploadState::Ready(_) => UploadWord::Ready,
            UploadState::Refused(_) => UploadWord::Refused,
        }
    }
}

/// An upload that is not done, or one that was begun.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Upload")]
pub(crate) struct UploadBody {
    name: String,
    version: String,
    digest: String,
    state: UploadWord,
    /// Of a refused one, what the upload is answered where it is waited for.
    #[serde(flatten)]
    refusal: Option<ErrorBody>,
}

impl UploadBody {
    pub(crate) fn new(
        agent: &AgentRef,
        state: UploadWord,
        mut refusal: Option<ErrorBody>,
    ) -> UploadBody {
        // The digest here is that of the upload, and not that of the agent which has its name already.
        if let Some(error) = &mut refusal {
            error.more.remove("digest");
        }
        UploadBody {
            name: agent.name.to_string(),
            version: agent.version.to_string(),
            digest: agent.digest.to_string(),
            state,
            refusal,
        }
    }
}

/// Agents, by name and then in the order of upload.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct AgentList {
    pub(crate) agents: Vec<AgentBody>,
    pub(crate) count: usize,
    /// What to ask for as `after`, where the list goes on; `null` at its end.
    pub(crate) next: Option<usize>,
    /// The same, by the name that it has in all lists.
    #[serde(rename = "nextCursor")]
    pub(crate) next_cursor: Option<usize>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ApiError;
    use dormouse::{Digest, Principal, StoreError};

    #[test]
    fn a_refused_upload_has_one_digest_and_that_is_its_own() {
        let agent = |bytes: &[u8]| AgentRef {
            owner: AgentOwner::Principal(Principal::local()),
            name: "mine".parse().unwrap(),
            version: "1".parse().unwrap(),
            digest: Digest::of(bytes),
        };
        let refused = ApiError::from(StoreError::AgentExists(agent(b"other")));
        let body = UploadBody::new(&agent(b"own"), UploadWord::Refused, Some(refused.body("r")));
        let text = serde_json::to_string(&body).unwrap();
        assert_eq!(text.matches("\"digest\"").count(), 1, "{text}");
        assert!(text.contains(&Digest::of(b"own").to_string()), "{text}");
    }
}
