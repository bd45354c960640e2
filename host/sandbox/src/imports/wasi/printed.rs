//! Standard output of a command: its reply. Text is streamed while the command runs.
//!
//! What the command prints waits in a [`Printed`] until the import that printed it has returned from the
//! engine, and goes on to the [`PrintedReply`] of the turn. It counts as what the turn streams, and the
//! write that exceeds the bound of a turn is its last.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use super::stdio::PERMIT;
use dormouse_domain::turn::Part;

/// The pieces of a stream grow with it: each has at least this share of what was streamed before. So
/// the first lines come as they are printed, and a megabyte of short ones in some thousands of pieces.
const SHARE: usize = 1024;

/// What was printed and not taken yet. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Printed(Arc<Mutex<Vec<u8>>>);

impl Printed {
    /// Take what was printed since the last time.
    pub(super) fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The reply of a command, as far as it is printed.
pub(crate) struct PrintedReply {
    printed: Printed,
    bytes: Vec<u8>,
    /// How much of it has been streamed: whole characters.
    streamed: usize,
    /// Nothing in it is known to be no UTF-8.
    is_text: bool,
    is_too_much: bool,
}

impl PrintedReply {
    /// Nothing yet. What is printed comes from there.
    pub(crate) fn new(printed: Printed) -> PrintedReply {
        let (bytes, streamed) = (Vec::new(), 0);
        PrintedReply { printed, bytes, streamed, is_text: true, is_too_much: false }
    }

    /// What the command has printed since the last time.
    pub(crate) fn take_printed(&self) -> Vec<u8> {
        self.printed.take()
    }

    /// Add what was printed. Answers with the piece that is to be streamed now, where there is one.
    pub(crate) fn add(&mut self, bytes: &[u8]) -> Option<String> {
        self.bytes.extend_from_slice(bytes);
        self.piece((self.streamed / SHARE).max(1))
    }

    /// The command has printed more than a turn may.
    pub(crate) fn note_too_much(&mut self) {
        self.is_too_much = true;
    }

    /// Whether the command has printed more than a turn may.
    pub(crate) fn is_too_much(&self) -> bool {
        self.is_too_much
    }

    /// The last piece that is to be streamed, once nothing more comes.
    pub(crate) fn last_piece(&mut self) -> Option<String> {
        self.piece(1)
    }

    /// All of it: text, where it is UTF-8.
    pub(crate) fn into_part(self) -> Part {
        match String::from_utf8(self.bytes) {
            Ok(text) => Part::Text(text),
            Err(error) => Part::Blob {
                media_type: "application/octet-stream".to_owned(),
                data: error.into_bytes(),
            },
        }
    }

    /// The whole characters that were not streamed yet, if they have this many bytes at least.
    fn piece(&mut self, least: usize) -> Option<String> {
        if !self.is_text {
            return None;
        }
        let rest = &self.bytes[self.streamed..];
        let piece = match std::str::from_utf8(rest) {
            Ok(text) => text,
            Err(error) => {
                // What is cut off may go on; what is wrong stays wrong.
                self.is_text = error.error_len().is_none();
                std::str::from_utf8(&rest[..error.valid_up_to()]).unwrap_or_default()
            }
        };
        if piece.is_empty() || piece.len() < least {
            return None;
        }
        self.streamed += piece.len();
        Some(piece.to_owned())
    }
}

impl IsTerminal for Printed {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Printed {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        // WASI 0.2 asks for `p2_stream` alone.
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[async_trait::async_trait]
impl Pollable for Printed {
    async fn ready(&mut self) {}
}

#[async_trait::async_trait]
impl OutputStream for Printed {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.lock().extend_from_slice(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(PERMIT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply() -> PrintedReply {
        PrintedReply::new(Printed::default())
    }

    #[test]
    fn text_is_streamed_between_characters() {
        let mut reply = reply();
        let pieces: Vec<String> = "aä€🐭".bytes().filter_map(|byte| reply.add(&[byte])).collect();
        assert_eq!(pieces, ["a", "ä", "€", "🐭"]);
        assert_eq!(reply.last_piece(), None);
        assert_eq!(reply.into_part(), Part::Text("aä€🐭".to_owned()));
    }

    #[test]
    fn what_is_no_text_is_a_blob_and_is_not_streamed() {
        for (bytes, streamed) in [(&b"ok\xff more"[..], Some("ok")), (b"\xe2\x82", None)] {
            let mut reply = reply();
            assert_eq!(reply.add(bytes).as_deref(), streamed);
            assert_eq!((reply.add(b"!"), reply.last_piece()), (None, None));
            let Part::Blob { media_type, data } = reply.into_part() else { panic!("it is text") };
            assert_eq!(
                (media_type.as_str(), data),
                ("application/octet-stream", [bytes, b"!"].concat())
            );
        }
    }

    #[test]
    fn a_megabyte_of_short_lines_is_streamed_whole_and_in_few_pieces() {
        let mut reply = reply();
        let lines = 1 << 19;
        let mut pieces: Vec<String> = (0..lines).filter_map(|_| reply.add(b"x\n")).collect();
        pieces.extend(reply.last_piece());
        assert_eq!(reply.into_part(), Part::Text(pieces.concat()));
        assert_eq!(pieces.concat().len(), lines * 2);
        assert!(pieces.len() < 10_000, "{}", pieces.len());
    }

    #[test]
    fn what_a_command_prints_is_taken_once() {
        let printed = Printed::default();
        let mut stream = printed.clone();
        assert!(stream.write(Bytes::from_static(b"one")).is_ok());
        let reply = PrintedReply::new(printed);
        assert_eq!((reply.take_printed(), reply.take_printed()), (b"one".to_vec(), Vec::new()));
    }
}
