//! What the sender of a message asks for besides an answer.

use std::time::Duration;

use crate::agent::Digest;
use crate::creation::InvalidField;
use crate::id::SessionId;
use crate::turn::Part;

/// How long the host knows an idempotency key at least, from the end of the turn on. A key is forgotten some
/// hours later, when the store is swept.
pub const IDEMPOTENCY_KEY_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// The most characters of an idempotency key.
pub const MAX_IDEMPOTENCY_KEY: usize = 255;

/// What becomes of a message that comes while the session is busy: a turn is in progress, or messages wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnBusy {
    /// The message waits behind those that came before it.
    #[default]
    Queue,
    /// The message is refused.
    Reject,
    /// The turn in progress ends now, and the message is the next. Those that wait stay behind it.
    Interrupt,
}

impl OnBusy {
    /// All of them.
    pub const ALL: [OnBusy; 3] = [OnBusy::Queue, OnBusy::Reject, OnBusy::Interrupt];

    /// The stable word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            OnBusy::Queue => "queue",
            OnBusy::Reject => "reject",
            OnBusy::Interrupt => "interrupt",
        }
    }
}

/// Check that an idempotency key is 1 to [`MAX_IDEMPOTENCY_KEY`] visible ASCII characters.
///
/// # Errors
/// It is not.
pub fn check_idempotency_key(key: &str) -> Result<(), InvalidField> {
    let is_visible = key.bytes().all(|byte| byte.is_ascii_graphic());
    if is_visible && (1..=MAX_IDEMPOTENCY_KEY).contains(&key.len()) {
        return Ok(());
    }
    let problem = format!("must be 1 to {MAX_IDEMPOTENCY_KEY} visible ASCII characters");
    Err(InvalidField::new("Idempotency-Key", problem))
}

/// The digest of a message with an idempotency key: of the session that it goes to, and of its parts. What
/// becomes of it while the session is busy is no part of it.
#[must_use]
pub fn digest(session: SessionId, content: &[Part]) -> Digest {
    let mut bytes = session.0.as_bytes().to_vec();
    // Each piece has its length before it, so that no two messages are the same bytes.
    let mut add = |piece: &[u8]| {
        bytes.extend_from_slice(&(piece.len() as u64).to_le_bytes());
        bytes.extend_from_slice(piece);
    };
    for part in content {
        match part {
            Part::Text(text) => [&b"text"[..], text.as_bytes()].map(&mut add),
            Part::Json(text) => [&b"json"[..], text.as_bytes()].map(&mut add),
            Part::Blob { media_type, data } => {
                add(b"blob");
                [media_type.as_bytes(), data.as_slice()].map(&mut add)
            }
        };
    }
    Digest::of(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn a_key_is_visible_ascii_within_its_bound() {
        for key in ["k", "8e03978e-40d5-43dd-bc93-6894a57f9324", &"x".repeat(255)] {
            assert!(check_idempotency_key(key).is_ok(), "{key}");
        }
        for key in ["", "a b", "a\n", "ä", &"x".repeat(256)] {
            assert!(check_idempotency_key(key).is_err(), "{key}");
        }
    }

    #[test]
    fn messages_that_differ_have_digests_that_differ() {
        let session = |n| SessionId(Uuid::from_u128(n));
        let text = |text: &str| Part::Text(text.to_owned());
        let json = |text: &str| Part::Json(text.to_owned());
        let blob = |media_type: &str, data: &[u8]| Part::Blob {
            media_type: media_type.to_owned(),
            data: data.to_vec(),
        };
        let digests = [
            digest(session(1), &[text("7")]),
            digest(session(2), &[text("7")]),
            digest(session(1), &[json("7")]),
            digest(session(1), &[text("7"), text("")]),
            digest(session(1), &[text(""), text("7")]),
            digest(session(1), &[blob("a", b"bc")]),
            digest(session(1), &[blob("ab", b"c")]),
        ];
        for (n, one) in digests.iter().enumerate() {
            assert!(digests[n + 1..].iter().all(|other| one != other), "{n}");
        }
        assert_eq!(digests[0], digest(session(1), &[text("7")]));
    }
}
