//! Mail between members that are sessions: what is sent in a tick arrives with the next.

use std::ops::Range;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use borsh::{BorshDeserialize, BorshSerialize};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::fingerprint::Link;
use dormouse_domain::mail::MAX_MAILBOX_BYTES;
use dormouse_domain::simulation::{Member, Role};
use dormouse_domain::turn::Part;

/// The address of whoever has made the world.
pub(super) const WORLD: &str = "world";

/// One mail.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(super) struct Letter {
    /// `None`: the program of the world.
    pub(super) from: Option<(Role, Member)>,
    pub(super) to: (Role, Member),
    pub(super) content: Vec<LetterPart>,
}

/// A part of a mail, as a keyframe has it.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(super) enum LetterPart {
    Text(String),
    Json(String),
    Blob { media_type: String, data: Vec<u8> },
}

/// A part of a mail, as its recipient is told.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum ToldPart<'l> {
    Text(&'l str),
    Json(Box<RawValue>),
    #[serde(rename_all = "camelCase")]
    Blob {
        media_type: &'l str,
        data: String,
    },
}

impl From<Part> for LetterPart {
    fn from(part: Part) -> LetterPart {
        match part {
            Part::Text(text) => LetterPart::Text(text),
            Part::Json(text) => LetterPart::Json(text),
            Part::Blob { media_type, data } => LetterPart::Blob { media_type, data },
        }
    }
}

impl LetterPart {
    pub(super) fn told(&self) -> ToldPart<'_> {
        match self {
            LetterPart::Text(text) => ToldPart::Text(text),
            // It was checked when it was sent.
            LetterPart::Json(text) => match RawValue::from_string(text.clone()) {
                Ok(document) => ToldPart::Json(document),
                Err(_) => ToldPart::Text(text),
            },
            LetterPart::Blob { media_type, data } => {
                ToldPart::Blob { media_type, data: BASE64.encode(data) }
            }
        }
    }

    fn bytes(&self) -> usize {
        match self {
            LetterPart::Text(text) | LetterPart::Json(text) => text.len(),
            LetterPart::Blob { media_type, data } => media_type.len() + data.len(),
        }
    }

    pub(super) fn hash(&self, link: &mut Link) {
        match self {
            LetterPart::Text(text) => link.section(text, 0),
            LetterPart::Json(text) => link.section(text, 1),
            LetterPart::Blob { media_type, data } => {
                link.section(media_type, 2);
                link.bytes(data);
            }
        }
    }
}

impl Letter {
    /// What it takes, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        let parts = self.content.iter().map(LetterPart::bytes).sum::<usize>();
        (size_of::<Letter>() + parts + self.content.len() * size_of::<LetterPart>()) as u64
    }

    pub(super) fn hash(&self, link: &mut Link) {
        let place = |(role, member): (Role, Member)| u64::from(role) << 32 | u64::from(member);
        link.section("mail", place(self.to));
        link.section("from", self.from.map_or(u64::MAX, place));
        self.content.iter().for_each(|part| part.hash(link));
    }
}

/// In the order of those to whom they go, and for each, in that in which they were sent.
pub(super) fn sort(letters: &mut [Letter]) {
    letters.sort_by_key(|letter| letter.to);
}

/// How many of the mails to one member it is told of in one tick: the first ones, as long as they have no more bytes than a mailbox.
/// So nobody can flood a member with more than it can read.
pub(super) fn fit(letters: &[Letter]) -> usize {
    let mut bytes = 0;
    let fits = letters.iter().take_while(|letter| {
        bytes += letter.content.iter().map(|part| part.bytes() as u64).sum::<u64>();
        bytes <= MAX_MAILBOX_BYTES
    });
    fits.count()
}

/// Which of these sorted letters go to this member.
pub(super) fn of(letters: &[Letter], to: (Role, Member)) -> Range<usize> {
    let from = letters.partition_point(|letter| letter.to < to);
    let count = letters[from..].partition_point(|letter| letter.to == to);
    from..from + count
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(to: Member, bytes: u64) -> Letter {
        let text = "x".repeat(usize::try_from(bytes).expect("it is small"));
        Letter { from: Some((0, 1)), to: (0, to), content: vec![LetterPart::Text(text)] }
    }

    #[test]
    fn a_member_is_told_of_as_much_mail_as_a_mailbox_has_and_of_its_own_alone() {
        let half = MAX_MAILBOX_BYTES / 2;
        let mut letters = vec![letter(2, 1), letter(1, half), letter(1, half), letter(1, 1)];
        letters.push(letter(0, MAX_MAILBOX_BYTES + 1));
        sort(&mut letters);
        let told = |member| {
            let own = &letters[of(&letters, (0, member))];
            (own.len(), fit(own))
        };
        assert_eq!([told(0), told(1), told(2), told(3)], [(1, 0), (3, 2), (1, 1), (0, 0)]);
    }
}
