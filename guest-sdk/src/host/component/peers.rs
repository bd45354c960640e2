//! Peers as a component sees them: the import `peers`, which is in a component only if it writes to one.

use std::time::Duration;

use super::{Backend, imports::peers as wire};
use crate::{
    handler::{Blob, Json, Part},
    peers::{Error, Peer},
};

impl Backend {
    pub(crate) fn peers(&self) -> Vec<Peer> {
        wire::list().into_iter().map(|peer| Peer { name: peer.name, id: peer.id }).collect()
    }

    pub(crate) fn send_mail(&self, to: &str, content: Vec<Part>) -> Result<(), Error> {
        let content: Vec<wire::Part> = content.into_iter().map(wire::Part::from).collect();
        wire::send(to, &content).map_err(Error::from)
    }

    pub(crate) fn ask_peer(
        &self,
        to: &str,
        content: Vec<Part>,
        timeout: Duration,
    ) -> Result<Vec<Part>, Error> {
        let content: Vec<wire::Part> = content.into_iter().map(wire::Part::from).collect();
        let timeout = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        let answer = wire::ask(to, &content, Some(timeout)).map_err(Error::from)?;
        Ok(answer.into_iter().map(Part::from).collect())
    }
}

impl From<Part> for wire::Part {
    fn from(part: Part) -> Self {
        match part {
            Part::Text(text) => wire::Part::Text(text),
            Part::Json(json) => wire::Part::Json(json.into_text()),
            Part::Blob(blob) => {
                wire::Part::Blob(wire::Blob { media_type: blob.media_type, data: blob.data })
            }
        }
    }
}

impl From<wire::Part> for Part {
    fn from(part: wire::Part) -> Self {
        match part {
            wire::Part::Text(text) => Part::Text(text),
            wire::Part::Json(document) => Part::Json(Json::from_text(document)),
            wire::Part::Blob(blob) => {
                Part::Blob(Blob { media_type: blob.media_type, data: blob.data })
            }
        }
    }
}

impl From<wire::Error> for Error {
    fn from(error: wire::Error) -> Self {
        match error {
            wire::Error::UnknownPeer => Error::UnknownPeer,
            wire::Error::Invalid(why) => Error::Invalid(why),
            wire::Error::TooLarge(most) => Error::TooLarge(most),
            wire::Error::TooMany(most) => Error::TooMany(most),
            wire::Error::MailboxFull => Error::MailboxFull,
            wire::Error::Ended => Error::Ended,
            wire::Error::Paused => Error::Paused,
            wire::Error::Busy => Error::Busy,
            wire::Error::Cycle => Error::Cycle,
            wire::Error::TimedOut => Error::TimedOut,
            wire::Error::Failed(wire::Failure { code, message }) => Error::Failed { code, message },
            wire::Error::Unavailable(why) => Error::Unavailable(why),
        }
    }
}
