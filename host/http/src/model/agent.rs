//! An agent as clients see it.

use serde::Serialize;

use super::error::ErrorBody;
use dormouse::{Agent, AgentOwner, AgentRef, Statefulness, UploadState, Visibility};

/// An agent.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AgentBody {
    /// Who uploaded it: what stands before the name, as `owner/name`, where others use it. `null` for
    /// those of the host.
    owner: Option<String>,
    name: String,
    version: String,
    digest: String,
    size: u64,
    kind: &'static str,
    imports: Vec<String>,
    capabilities: Vec<String>,
    /// How its state outlives an instance: `portable`, `image`, `unsaved` with the reason, or
    /// `stateless`.
    statefulness: &'static str,
    unsaved_reason: Option<String>,
    start_fuel: u64,
    /// Whether its instances draw the same random bytes while they start: `shared` or `none`.
    start_randomness: &'static str,
    compile_ms: u64,
    uploaded_at: String,
    bundled: bool,
    /// Who can name it: `private`, its owner alone; `public`, everybody.
    visibility: &'static str,
    /// `ready`: an upload that is not has an [`UploadBody`].
    state: &'static str,
}

impl From<Agent> for AgentBody {
    fn from(agent: Agent) -> AgentBody {
        let bundled = agent.is_bundled();
        let (statefulness, unsaved_reason) = match agent.component.statefulness {
            Statefulness::Portable => ("portable", None),
            Statefulness::Image => ("image", None),
            Statefulness::Unsaved(why) => ("unsaved", Some(why)),
            Statefulness::Stateless => ("stateless", None),
        };
        AgentBody {
            bundled,
            state: UploadState::READY,
            visibility: match &agent.reference.owner {
                AgentOwner::Host => Visibility::Public.as_str(),
                AgentOwner::Principal(_) => agent.visibility.as_str(),
            },
            owner: agent.reference.owner.principal().map(ToString::to_string),
            name: agent.reference.name.to_string(),
            version: agent.reference.version.to_string(),
            digest: agent.reference.digest.to_string(),
            size: agent.size,
            kind: if agent.component.exports.is_command() { "command" } else { "agent" },
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

/// An upload that is not done, or one that was begun.
#[derive(Debug, Serialize)]
pub(crate) struct UploadBody {
    name: String,
    version: String,
    digest: String,
    /// `compiling`, `ready` or `refused`.
    state: &'static str,
    /// Of a refused one, what the upload is answered where it is waited for.
    #[serde(flatten)]
    refusal: Option<ErrorBody>,
}

impl UploadBody {
    pub(crate) fn new(
        agent: &AgentRef,
        state: &'static str,
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
#[derive(Debug, Serialize)]
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
        let body = UploadBody::new(&agent(b"own"), "refused", Some(refused.body("r")));
        let text = serde_json::to_string(&body).unwrap();
        assert_eq!(text.matches("\"digest\"").count(), 1, "{text}");
        assert!(text.contains(&Digest::of(b"own").to_string()), "{text}");
    }
}
