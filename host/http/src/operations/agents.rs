//! `/api/agents`

use crate::codes::{COMPILED, Code, STORED};
use crate::model::agent::{AgentBody, UploadBody};
use crate::operation::{Operation, Tag};

pub(crate) fn upload() -> Operation {
    let prefer = "`respond-async`: the answer does not wait until the component is compiled.";
    let summary =
        "Uploads a component as an agent. The same bytes once more are answered with 200.";
    Operation::new(Tag::Agents, "uploadAgent", summary)
        .header("Prefer", prefer)
        .answers::<AgentBody>(201)
        .answers::<AgentBody>(200)
        .answers::<UploadBody>(202)
        .fails(COMPILED)
        .fails(STORED)
        .fails(&[Code::InvalidName, Code::AgentExists, Code::ReservedName, Code::QuotaExceeded])
}

pub(crate) fn list() -> Operation {
    let summary = "Lists the agents that the caller can name, by name.";
    Operation::new(Tag::Agents, "listAgents", summary)
}

pub(crate) fn show() -> Operation {
    let summary = "Shows an agent, or how far the caller's upload of it has come.";
    Operation::new(Tag::Agents, "getAgent", summary).answers::<AgentOrUpload>(200)
}

pub(crate) fn change() -> Operation {
    Operation::new(Tag::Agents, "changeAgent", "Changes who can name an agent.")
        .fails(STORED)
        .fails(&[Code::NotOwner, Code::AgentBundled])
}

pub(crate) fn remove() -> Operation {
    Operation::new(Tag::Agents, "deleteAgent", "Removes an agent that no session refers to.")
        .fails(STORED)
        .fails(&[Code::NotOwner, Code::AgentBundled, Code::AgentInUse])
}

/// What is told of a name that the caller has given to a component.
#[derive(schemars::JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it describes two answers that one path has")]
enum AgentOrUpload {
    Agent(AgentBody),
    Upload(UploadBody),
}
