//! A template, apart from its snapshot.

use minicbor::{CborLen, Decode, Encode};

use super::session::AgentRefRow;
use super::{CodecError, from_cbor, to_cbor};
use dormouse_domain::id::Principal;
use dormouse_domain::snapshot::Snapshot;
use dormouse_domain::template::Template;
use dormouse_domain::time::Timestamp;

/// The row of this template, without its snapshot.
pub(crate) fn encode_template(template: &Template) -> Vec<u8> {
    to_cbor(&TemplateRow {
        name: &template.name,
        owner: &template.owner.0,
        description: template.description.as_deref(),
        agent: AgentRefRow::of(&template.agent),
        created_at: template.created_at.0,
    })
}

/// The template of this row and this snapshot.
pub(crate) fn decode_template(bytes: &[u8], snapshot: Snapshot) -> Result<Template, CodecError> {
    let row: TemplateRow<'_> = from_cbor(bytes)?;
    Ok(Template {
        name: row.name.to_owned(),
        owner: Principal(row.owner.to_owned()),
        description: row.description.map(str::to_owned),
        agent: row.agent.reference()?,
        snapshot,
        created_at: Timestamp(row.created_at),
    })
}

#[derive(Encode, Decode, CborLen)]
struct TemplateRow<'a> {
    #[b(0)]
    name: &'a str,
    #[b(1)]
    owner: &'a str,
    #[b(2)]
    description: Option<&'a str>,
    #[b(3)]
    agent: AgentRefRow<'a>,
    #[n(4)]
    created_at: i64,
}
