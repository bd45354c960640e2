//! Objects of git: their ids, and the form of commits.

use std::fmt;

use sha1_checked::{Digest, Sha1};

use crate::MAX_MESSAGE;
use crate::error::Error;
use crate::history::{Revision, Signature};

/// The name of an object of git: the SHA-1 of its kind, its size and its bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId(pub [u8; 20]);

/// 40 hexadecimal digits.
impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectId({self})")
    }
}

impl ObjectId {
    /// What a client writes: 40 hexadecimal digits.
    pub(crate) fn parse(text: &[u8]) -> Option<ObjectId> {
        let digits = <&[u8; 40]>::try_from(text).ok()?;
        let mut id = [0; 20];
        for (byte, pair) in id.iter_mut().zip(digits.chunks_exact(2)) {
            let half = |at: usize| char::from(pair[at]).to_digit(16);
            *byte = (half(0)? << 4 | half(1)?) as u8;
        }
        Some(ObjectId(id))
    }

    /// The id of the object of this kind with these bytes.
    pub(crate) fn of(kind: Kind, bytes: &[u8]) -> Result<ObjectId, Error> {
        let mut hasher = Hasher::new(kind, bytes.len() as u64);
        hasher.update(bytes);
        hasher.finish()
    }
}

/// The kinds of objects that there are here, with the numbers that packs have for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Commit = 1,
    Tree = 2,
    Blob = 3,
}

/// Makes an id of bytes that come in pieces.
pub(crate) struct Hasher(Sha1);

impl Hasher {
    pub(crate) fn new(kind: Kind, size: u64) -> Hasher {
        let kind = match kind {
            Kind::Commit => "commit",
            Kind::Tree => "tree",
            Kind::Blob => "blob",
        };
        let mut hasher = Hasher(Sha1::new());
        hasher.update(format!("{kind} {size}\0").as_bytes());
        hasher
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn finish(self) -> Result<ObjectId, Error> {
        let result = self.0.try_finalize();
        if result.has_collision() {
            return Err(Error::Collision);
        }
        Ok(ObjectId((*result.hash()).into()))
    }
}

/// A commit.
pub(crate) struct Commit {
    pub(crate) id: ObjectId,
    pub(crate) bytes: Vec<u8>,
}

impl Commit {
    /// The commit of a revision.
    pub(crate) fn of(
        revision: &Revision,
        tree: ObjectId,
        parent: Option<ObjectId>,
    ) -> Result<Commit, Error> {
        let mut text = format!("tree {tree}\n");
        if let Some(parent) = parent {
            text += &format!("parent {parent}\n");
        }
        let time = revision.time.min(MAX_TIME);
        for (role, who) in [("author", &revision.author), ("committer", &revision.committer)] {
            text += &format!("{role} {} {time} +0000\n", signed(who));
        }
        text.push('\n');
        let message = &revision.message;
        let message = &message[..message.floor_char_boundary(MAX_MESSAGE)];
        text.extend(message.chars().filter(|c| *c != '\0'));
        if !text.ends_with('\n') {
            text.push('\n');
        }
        let bytes = text.into_bytes();
        Ok(Commit { id: ObjectId::of(Kind::Commit, &bytes)?, bytes })
    }
}

/// The last second that git reads as a date: the end of the year 2099.
const MAX_TIME: u64 = 4_102_444_799;

fn signed(who: &Signature) -> String {
    let clean = |text: &str| -> String {
        let text: String =
            text.chars().filter(|c| !c.is_control() && !matches!(c, '<' | '>')).take(200).collect();
        text.trim().to_owned()
    };
    let name = clean(&who.name);
    let name = if name.is_empty() { "unknown" } else { &name };
    format!("{name} <{}>", clean(&who.email))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_those_of_git() {
        let id = |kind, bytes: &[u8]| ObjectId::of(kind, bytes).unwrap().to_string();
        assert_eq!(id(Kind::Blob, b""), "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");
        assert_eq!(id(Kind::Blob, b"hello\n"), "ce013625030ba8dba906f756967f9e9ca394464a");
        assert_eq!(id(Kind::Tree, b""), "4b825dc642cb6eb9a060e54bf8d69288fbee4904");
    }

    #[test]
    fn an_id_is_read_as_it_is_written() {
        let id = ObjectId::of(Kind::Blob, b"x").unwrap();
        assert_eq!(ObjectId::parse(id.to_string().as_bytes()), Some(id));
        for text in ["", "12", &"g".repeat(40), &"1".repeat(41)] {
            assert_eq!(ObjectId::parse(text.as_bytes()), None);
        }
    }

    #[test]
    fn a_signature_is_one_line_with_one_address() {
        let who =
            |name: &str, email: &str| signed(&Signature { name: name.into(), email: email.into() });
        assert_eq!(who("A\nB", "a@b"), "AB <a@b>");
        assert_eq!(who(" <x> ", ""), "x <>");
        assert_eq!(who("<>\0", "a>b\r\nauthor c"), "unknown <abauthor c>");
    }
}
