//! Standard output of a command: its reply. Text is streamed while the command runs.
//!
//! What it prints counts as what it streams, and the write that exceeds the bound of a turn is its last.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError, StreamResult};

use super::super::output::TurnOutput;
use super::stdio::PERMIT;
use dormouse_domain::turn::Part;

/// The pieces of a stream grow with it: each has at least this share of what was streamed before. So
/// the first lines come as they are printed, and a megabyte of short ones in some thousands of pieces.
const SHARE: usize = 1024;

/// What a command has printed. Clones are the same.
#[derive(Clone)]
pub(crate) struct Printed(Arc<Mutex<State>>);

struct State {
    bytes: Vec<u8>,
    /// How much of it has been streamed: whole characters.
    streamed: usize,
    /// Nothing in it is known to be no UTF-8.
    is_text: bool,
    is_too_much: bool,
    output: TurnOutput,
}

impl Printed {
    /// Nothing yet.
    pub(crate) fn new(output: TurnOutput) -> Printed {
        Printed(Arc::new(Mutex::new(State {
            bytes: Vec::new(),
            streamed: 0,
            is_text: true,
            is_too_much: false,
            output,
        })))
    }

    /// Whether the command has printed more than a turn may.
    pub(crate) fn is_too_much(&self) -> bool {
        self.lock().is_too_much
    }

    /// All of it, once nothing more comes: text, where it is UTF-8.
    pub(crate) fn finish(&self) -> Part {
        let mut state = self.lock();
        state.stream(0);
        match String::from_utf8(std::mem::take(&mut state.bytes)) {
            Ok(text) => Part::Text(text),
            Err(error) => Part::Blob {
                media_type: "application/octet-stream".to_owned(),
                data: error.into_bytes(),
            },
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Take what was printed. `false`: it is too much, and was not taken.
    fn write(&mut self, bytes: &[u8]) -> bool {
        self.is_too_much |= !self.output.reserve(bytes.len());
        if !self.is_too_much {
            self.output.note_printed(bytes.len());
            self.bytes.extend_from_slice(bytes);
            self.stream((self.streamed / SHARE).max(1));
        }
        !self.is_too_much
    }

    /// Stream the whole characters that were not streamed yet, if they have this many bytes at least.
    fn stream(&mut self, least: usize) {
        if !self.is_text {
            return;
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
        if !piece.is_empty() && piece.len() >= least {
            self.streamed += piece.len();
            self.output.text(piece.to_owned());
        }
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
        if self.lock().write(&bytes) {
            Ok(())
        } else {
            // An error could be overlooked, and the reply be cut without a word.
            Err(StreamError::trap("the command printed more than a turn may"))
        }
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
    use crate::call::{MAX_OUTPUT_BYTES, OutputSink};

    #[derive(Clone, Default)]
    struct Pieces(Arc<Mutex<Vec<String>>>);

    impl OutputSink for Pieces {
        fn text(&mut self, delta: String) {
            self.0.lock().expect("no panic").push(delta);
        }

        fn event(&mut self, _: String, _: String) {}
    }

    impl Pieces {
        fn take(&self) -> Vec<String> {
            std::mem::take(&mut self.0.lock().expect("no panic"))
        }
    }

    fn printed() -> (Printed, Pieces) {
        let pieces = Pieces::default();
        (Printed::new(TurnOutput::new(Box::new(pieces.clone()))), pieces)
    }

    #[test]
    fn text_is_streamed_between_characters() {
        let (printed, pieces) = printed();
        for byte in "aä€🐭".bytes() {
            assert!(printed.lock().write(&[byte]));
        }
        assert_eq!(pieces.take(), ["a", "ä", "€", "🐭"]);
        assert_eq!(printed.finish(), Part::Text("aä€🐭".to_owned()));
        assert!(pieces.take().is_empty());
    }

    #[test]
    fn what_is_no_text_is_a_blob_and_is_not_streamed() {
        for (bytes, streamed) in [(&b"ok\xff more"[..], vec!["ok"]), (b"\xe2\x82", vec![])] {
            let (printed, pieces) = printed();
            assert!(printed.lock().write(bytes) && printed.lock().write(b"!"));
            let Part::Blob { media_type, data } = printed.finish() else { panic!("it is text") };
            assert_eq!(
                (media_type.as_str(), data),
                ("application/octet-stream", [bytes, b"!"].concat())
            );
            assert_eq!(pieces.take(), streamed);
        }
    }

    #[test]
    fn a_megabyte_of_short_lines_is_streamed_whole_and_in_few_pieces() {
        let (printed, pieces) = printed();
        let lines = usize::try_from(MAX_OUTPUT_BYTES).expect("small") / 2;
        for _ in 0..lines {
            assert!(printed.lock().write(b"x\n"));
        }
        assert!(!printed.is_too_much());
        let Part::Text(text) = printed.finish() else { panic!("it is text") };
        let pieces = pieces.take();
        assert_eq!((pieces.concat(), text.len()), (text, lines * 2));
        assert!(pieces.len() < 10_000, "{}", pieces.len());

        assert!(!printed.lock().write(b"x") && printed.is_too_much());
    }
}
