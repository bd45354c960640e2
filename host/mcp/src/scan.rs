//! What a message of a server is, found before it is parsed: which request it answers, and whether a parser should see it.
//!
//! A parser makes much of little: a `[` becomes a list, and each of many small numbers a value of 32 bytes. So the bounds of
//! a message are those of its bytes, its depth and the number of its values. Whoever throws a message away that is too
//! large has still read all of it, so the request that it answers is known, and fails at once.

use rmcp::model::RequestId;

/// The most bytes of one message.
pub(crate) const MAX_MESSAGE: usize = 4 << 20;
/// How deep arrays and objects may lie in each other. A parser takes 128.
const MAX_DEPTH: u32 = 64;
/// The most values of one message.
const MAX_VALUES: u32 = 200_000;
/// The most bytes of a name or an id that is looked at.
const MAX_TOKEN: usize = 64;

/// Why nobody gets a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It has too many bytes.
    TooLarge,
    /// It is too deep, or has too many values.
    TooComplex,
    /// There is no memory for it.
    OutOfMemory,
    /// It is no message.
    Unreadable,
}

/// What is known of one message. It is fed with the bytes of the message, in as many pieces as they come in.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    bytes: usize,
    depth: u32,
    deepest: u32,
    values: u32,
    text: Text,
    /// The string or the number that is being read on the uppermost level.
    token: Vec<u8>,
    /// The name whose value follows.
    name: Option<Name>,
    id: Option<Vec<u8>>,
    has_method: bool,
}

/// Whether the next byte is inside a string.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Text {
    #[default]
    Outside,
    Inside,
    /// Behind a backslash.
    Escaped,
}

/// Names of members of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    Id,
    Other,
}

impl Scan {
    /// Read the next bytes.
    pub(crate) fn read(&mut self, bytes: &[u8]) {
        self.bytes = self.bytes.saturating_add(bytes.len());
        for byte in bytes {
            match self.text {
                Text::Escaped => {
                    self.text = Text::Inside;
                    self.keep(*byte);
                }
                Text::Inside => self.inside(*byte),
                Text::Outside => self.outside(*byte),
            }
        }
    }

    /// How many bytes were read.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Why no parser sees the message. `None`: one may.
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        match (self.bytes > MAX_MESSAGE, self.deepest > MAX_DEPTH || self.values > MAX_VALUES) {
            (true, _) => Some(Refusal::TooLarge),
            (false, true) => Some(Refusal::TooComplex),
            (false, false) => None,
        }
    }

    /// The request that the message answers. `None`: it is no answer.
    pub(crate) fn answers(&self) -> Option<RequestId> {
        let id = self.id.as_deref().filter(|_| !self.has_method)?;
        serde_json::from_slice(id).ok()
    }

    fn inside(&mut self, byte: u8) {
        match byte {
            b'\\' => self.text = Text::Escaped,
            b'"' => self.text = Text::Outside,
            _ => {}
        }
        self.keep(byte);
    }

    fn outside(&mut self, byte: u8) {
        match byte {
            b'"' => {
                self.text = Text::Inside;
                self.keep(byte);
            }
            b'{' | b'[' => {
                self.depth = self.depth.saturating_add(1);
                self.deepest = self.deepest.max(self.depth);
                self.values = self.values.saturating_add(1);
                self.token.clear();
            }
            b'}' | b']' => {
                self.end_of_value();
                self.depth = self.depth.saturating_sub(1);
                self.token.clear();
            }
            b',' => {
                self.values = self.values.saturating_add(1);
                self.end_of_value();
            }
            b':' => self.end_of_name(),
            b' ' | b'\t' | b'\r' | b'\n' => {}
            _ => self.keep(byte),
        }
    }

    fn keep(&mut self, byte: u8) {
        if self.depth == 1 && self.token.len() <= MAX_TOKEN {
            self.token.push(byte);
        }
    }

    fn end_of_name(&mut self) {
        if self.depth != 1 {
            return;
        }
        self.has_method |= self.token == b"\"method\"";
        self.name = Some(if self.token == b"\"id\"" { Name::Id } else { Name::Other });
        self.token.clear();
    }

    fn end_of_value(&mut self) {
        if self.depth != 1 {
            return;
        }
        let token = std::mem::take(&mut self.token);
        if self.name.take() == Some(Name::Id) && token.len() <= MAX_TOKEN {
            self.id = Some(token);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scan(text: &str) -> Scan {
        let mut scan = Scan::default();
        scan.read(text.as_bytes());
        scan
    }

    #[test]
    fn the_request_that_a_message_answers_is_found_wherever_its_id_stands() {
        for (text, expected) in [
            (r#"{"jsonrpc":"2.0","id":7,"result":{"id":8}}"#, Some(RequestId::Number(7))),
            (
                r#"{"result":{"content":[{"id":8}]},"jsonrpc":"2.0","id":7}"#,
                Some(RequestId::Number(7)),
            ),
            (r#" { "id" : 7 } "#, Some(RequestId::Number(7))),
            (r#"{"id":"a\"b","error":{}}"#, Some(RequestId::String("a\"b".into()))),
            (r#"{"result":"\"id\":9","x":{"id":9},"id":7}"#, Some(RequestId::Number(7))),
            (r#"{"result":"id","id":7}"#, Some(RequestId::Number(7))),
            (r#"{"id":7,"method":"ping"}"#, None),
            (r#"{"method":"notifications/message","params":{"id":7}}"#, None),
            (r#"{"id":null,"error":{}}"#, None),
            (r#"{"id":{"x":1},"result":{}}"#, None),
            (r#"[{"id":7}]"#, None),
            ("id:7", None),
            ("", None),
        ] {
            assert_eq!(scan(text).answers(), expected, "{text}");
        }
        let long = format!(r#"{{"id":"{}","result":{{}}}}"#, "x".repeat(100));
        assert_eq!(scan(&long).answers(), None);
    }

    #[test]
    fn a_message_that_is_large_deep_or_crowded_is_refused_and_one_within_bounds_is_not() {
        let result = |inner: &str| format!(r#"{{"result":{inner},"id":7}}"#);
        let deep = result(&("[".repeat(64) + &"]".repeat(64)));
        let crowded = result(&format!("[{}0]", "0,".repeat(200_000)));
        let large = result(&format!("\"{}\"", "x".repeat(MAX_MESSAGE)));
        for (text, expected) in [
            (result("[[[0]]]"), None),
            (result(&format!("\"{}\"", "[,".repeat(200_000))), None),
            (deep, Some(Refusal::TooComplex)),
            (crowded, Some(Refusal::TooComplex)),
            (large, Some(Refusal::TooLarge)),
        ] {
            let scan = scan(&text);
            assert_eq!(scan.refusal(), expected);
            assert_eq!(scan.answers(), Some(RequestId::Number(7)));
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_the_same_in_any_pieces(
            text in r#"[\[\]{}":,\\ id0-9a]{0,60}"#,
            size in 1..20_usize,
        ) {
            let mut pieces = Scan::default();
            text.as_bytes().chunks(size).for_each(|piece| pieces.read(piece));
            let whole = scan(&text);
            prop_assert_eq!(pieces.answers(), whole.answers());
            prop_assert_eq!(pieces.refusal(), whole.refusal());
        }
    }
}
