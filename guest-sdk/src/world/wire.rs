//! A tick of a world in the form in which the host tells it: one JSON document, which `wit/view.wit` describes.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{DueTimer, Effect, Mail, Member, Moment, base64};
use crate::handler::{Json, Part};

#[derive(Deserialize)]
struct WireMoment {
    tick: u64,
    role: String,
    member: Member,
    roles: Vec<String>,
    mail: Vec<WireMail>,
    dropped: u64,
    effects: Vec<WireEffect>,
    timers: Vec<WireTimer>,
}

#[derive(Deserialize)]
struct WireMail {
    from: String,
    content: Vec<WirePart>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum WirePart {
    Text(String),
    /// Its text is kept, so that an agent that hands the document on does so unchanged.
    Json(Box<RawValue>),
    Blob(WireBlob),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireBlob {
    media_type: String,
    data: String,
}

#[derive(Deserialize)]
struct WireEffect {
    kind: String,
    role: String,
    from: Option<Member>,
    value: Option<f64>,
}

#[derive(Deserialize)]
struct WireTimer {
    name: String,
    message: String,
}

/// `None`: the document is of another form.
pub(super) fn read(document: &Json) -> Option<Moment> {
    let told: WireMoment = document.decode().ok()?;
    let effect = |WireEffect { kind, role, from, value }| Effect { kind, role, from, value };
    let timer = |WireTimer { name, message }| DueTimer { name, message };
    Some(Moment {
        tick: told.tick,
        role: told.role,
        member: told.member,
        roles: told.roles,
        mail: told.mail.into_iter().map(mail).collect::<Option<_>>()?,
        dropped: told.dropped,
        effects: told.effects.into_iter().map(effect).collect(),
        timers: told.timers.into_iter().map(timer).collect(),
    })
}

fn mail(told: WireMail) -> Option<Mail> {
    let content = told.content.into_iter().map(part).collect::<Option<_>>()?;
    Some(Mail { from: told.from, content })
}

fn part(told: WirePart) -> Option<Part> {
    Some(match told {
        WirePart::Text(text) => Part::Text(text),
        WirePart::Json(document) => Part::Json(Json::from_text(document.get())),
        WirePart::Blob(WireBlob { media_type, data }) => {
            Part::blob(media_type, base64::decode(&data)?)
        }
    })
}
