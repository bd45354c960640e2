//! `dormouse:agent/log`, and the log that standard output and standard error go to as well.
//!
//! A guest never gets an error from its log: what is beyond the bounds is counted and dropped, unread.

use wasmtime::StoreContextMut;
use wasmtime::component::WasmList;

use super::contract::log::Level;
use super::interface::{HostWork, Interface};
use super::price;
use super::text::GuestText;
use crate::fuel::charge;
use crate::guest::Guest;
use dormouse_domain::turn::{LogLevel, LogLine, LogSource};

/// The most log that is kept of one turn, in bytes.
pub(crate) const MAX_BYTES: usize = 64 << 10;
/// The most that is kept of one line: message, names and values together.
const MAX_LINE: usize = 8 << 10;
/// The longest message that is read for its beginning. Of a longer one nothing is kept.
const MAX_READ: usize = 1 << 20;
/// Fields that are looked at at a time.
const FIELDS: usize = 1_000;
/// What a stack of Python begins with.
const TRACEBACK: &str = "Traceback (most recent call last):";
/// What the lines begin with that libraries write whenever they end a guest.
const NOISE: [&str; 3] =
    ["note: run with `RUST_BACKTRACE", "Redirecting call to abort() to mozalloc_abort", "Stack:"];
/// What each line and each field counts besides its bytes, so that empty ones are not without end.
const LINE: usize = 32;

/// Link the interface.
pub(super) fn link(interface: &mut Interface<'_>) -> wasmtime::Result<()> {
    interface.metered("log", log)
}

type Fields = WasmList<(GuestText, GuestText)>;

fn log(
    mut store: StoreContextMut<'_, Guest>,
    (level, message, fields): (Level, GuestText, Fields),
) -> HostWork<'_, ()> {
    Box::pin(async move {
        let level = match level {
            Level::Trace => LogLevel::Trace,
            Level::Debug => LogLevel::Debug,
            Level::Info => LogLevel::Info,
            Level::Warn => LogLevel::Warn,
            Level::Error => LogLevel::Error,
        };
        let (message, mut dropped) = match message.len() {
            length @ ..=MAX_READ => {
                charge(&mut store, price::of(length, price::BYTE)).await?;
                let message = message.read(&store)?;
                let kept = message.floor_char_boundary(MAX_LINE);
                (message[..kept].to_owned(), message.len() - kept)
            }
            length => (String::new(), length),
        };
        let mut room = MAX_LINE - message.len();
        let mut kept = Vec::new();
        for first in (0..fields.len()).step_by(FIELDS) {
            let last = fields.len().min(first + FIELDS);
            charge(&mut store, price::of(last - first, price::FIELD)).await?;
            for place in first..last {
                let Some(field) = fields.get(&mut store, place) else { break };
                let (name, value) = field?;
                let size = name.len().saturating_add(value.len());
                match room.checked_sub(size.saturating_add(LINE)) {
                    Some(left) => {
                        room = left;
                        kept.push((name.read(&store)?.into(), value.read(&store)?.into()));
                    }
                    None => dropped += size,
                }
            }
        }
        let guest = store.data_mut();
        {
            let mut log = guest.log.lock();
            log.dropped += dropped as u64;
            log.push(LogSource::Log(level), message, kept);
        }
        guest.pay_for_kept()
    })
}

/// What a guest has written since the log was last taken.
#[derive(Default)]
pub(crate) struct TurnLog {
    lines: Vec<LogLine>,
    kept: usize,
    dropped: u64,
    stdout: Unfinished,
    stderr: Unfinished,
}

/// A line of a standard stream that has no end yet.
#[derive(Default)]
struct Unfinished {
    bytes: Vec<u8>,
    /// Bytes of this line beyond the bound.
    cut: u64,
}

/// A standard stream of a guest.
#[derive(Clone, Copy, Debug)]
pub(crate) enum StdStream {
    Stdout,
    Stderr,
}

impl TurnLog {
    /// Keep a line, where there is room for it.
    fn push(&mut self, source: LogSource, message: String, fields: Vec<(String, String)>) {
        let size: usize = message.len()
            + fields.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
        let counted = size + LINE * (1 + fields.len());
        if self.kept + counted > MAX_BYTES {
            self.dropped += size as u64;
            return;
        }
        self.kept += counted;
        self.lines.push(LogLine { source, message, fields });
    }

    /// Keep a line of the host, for the author of the agent.
    pub(super) fn warn(&mut self, message: String) {
        self.push(LogSource::Log(LogLevel::Warn), message, Vec::new());
    }

    /// Whether no line will be kept any more.
    fn is_full(&self) -> bool {
        self.kept + LINE > MAX_BYTES
    }

    /// Bytes of memory that it takes.
    pub(crate) fn kept(&self) -> u64 {
        (self.kept + self.stdout.bytes.len() + self.stderr.bytes.len()) as u64
    }

    /// Take bytes that the guest wrote to a standard stream.
    pub(super) fn write(&mut self, stream: StdStream, mut bytes: &[u8]) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            if self.is_full() {
                self.dropped += bytes.iter().filter(|byte| **byte != b'\n').count() as u64;
                return;
            }
            self.continue_line(stream, &bytes[..end]);
            self.end_line(stream);
            bytes = &bytes[end + 1..];
        }
        self.continue_line(stream, bytes);
    }

    /// Everything since the last time, and how many bytes were dropped.
    pub(crate) fn take(&mut self) -> (Vec<LogLine>, u64) {
        for stream in [StdStream::Stdout, StdStream::Stderr] {
            if !self.unfinished(stream).bytes.is_empty() {
                self.end_line(stream);
            }
        }
        self.kept = 0;
        (std::mem::take(&mut self.lines), std::mem::take(&mut self.dropped))
    }

    /// The last that the guest wrote to standard error, as far as it says why it ended: an exception
    /// of Python, a panic of Rust, or the last line that is not indented.
    pub(crate) fn last_words(&mut self) -> Option<String> {
        if !self.unfinished(StdStream::Stderr).bytes.is_empty() {
            self.end_line(StdStream::Stderr);
        }
        let written = self.lines.iter().filter(|line| line.source == LogSource::Stderr);
        let lines: Vec<&str> = written
            .map(|line| line.message.trim_end())
            .filter(|line| !line.is_empty() && !NOISE.iter().any(|noise| line.starts_with(noise)))
            .collect();
        let last = |wanted: fn(&str) -> bool| lines.iter().rposition(|line| wanted(line));
        let panicked = last(|line| line.contains("panicked at"));
        let words = if let Some(traceback) = last(|line| line.starts_with(TRACEBACK)) {
            // The frames are indented. What CPython's host says after the exception says less.
            let end = panicked.filter(|panicked| *panicked > traceback).unwrap_or(lines.len());
            let frames = lines[traceback + 1..end].iter().take_while(|line| is_indented(line));
            &lines[traceback + 1 + frames.count()..end]
        } else if let Some(panicked) = panicked {
            &lines[panicked..]
        } else {
            let plain = last(|line| !is_indented(line)).unwrap_or(0);
            lines.get(plain..=plain).unwrap_or_default()
        };
        let words: Vec<&str> = words.iter().map(|line| line.trim()).collect();
        (!words.is_empty()).then(|| words.join(" "))
    }

    fn continue_line(&mut self, stream: StdStream, bytes: &[u8]) {
        let line = self.unfinished(stream);
        let taken = bytes.len().min(MAX_LINE.saturating_sub(line.bytes.len()));
        line.bytes.extend_from_slice(&bytes[..taken]);
        line.cut += (bytes.len() - taken) as u64;
    }

    fn end_line(&mut self, stream: StdStream) {
        let Unfinished { mut bytes, cut: beyond } = std::mem::take(self.unfinished(stream));
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
        self.dropped += beyond;
        let source = match stream {
            StdStream::Stdout => LogSource::Stdout,
            StdStream::Stderr => LogSource::Stderr,
        };
        // A line that is cut inside a character, or is no text, shows it.
        let mut message = String::from_utf8(bytes)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
        self.dropped += cut(&mut message, MAX_LINE);
        message.shrink_to_fit();
        self.push(source, message, Vec::new());
    }

    fn unfinished(&mut self, stream: StdStream) -> &mut Unfinished {
        match stream {
            StdStream::Stdout => &mut self.stdout,
            StdStream::Stderr => &mut self.stderr,
        }
    }
}

fn is_indented(line: &str) -> bool {
    line.starts_with([' ', '\t'])
}

/// Cut a text at a bound. Returns how many bytes went.
fn cut(text: &mut String, bound: usize) -> u64 {
    let length = text.len();
    if length > bound {
        text.truncate(text.floor_char_boundary(bound));
    }
    (length - text.len()) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(log: &mut TurnLog) -> (Vec<String>, u64) {
        let (lines, dropped) = log.take();
        (lines.into_iter().map(|line| line.message).collect(), dropped)
    }

    #[test]
    fn writes_become_lines_in_order_and_the_last_needs_no_end() {
        let mut log = TurnLog::default();
        log.write(StdStream::Stdout, b"one\ntw");
        log.write(StdStream::Stderr, b"other\r\n");
        log.write(StdStream::Stdout, b"o\n\nthree");
        assert_eq!(messages(&mut log).0, ["one", "other", "two", "", "three"]);
        assert_eq!(messages(&mut log).0, Vec::<String>::new());
    }

    #[test]
    fn what_is_beyond_the_bounds_is_counted_and_dropped() {
        let mut log = TurnLog::default();
        log.write(StdStream::Stdout, &vec![b'x'; 1 << 20]);
        let (lines, dropped) = messages(&mut log);
        assert_eq!((lines.len(), lines[0].len(), dropped), (1, MAX_LINE, (1 << 20) - 8_192));

        for _ in 0..100_000 {
            log.write(StdStream::Stderr, b"\n");
            log.push(
                LogSource::Log(LogLevel::Info),
                String::new(),
                vec![(String::new(), String::new()); 9],
            );
        }
        assert!(log.lines.len() <= MAX_BYTES / LINE);
        let before = log.take().1;
        assert_eq!(before, 0, "there was nothing in those lines");
    }

    #[test]
    fn of_a_full_log_the_bytes_are_counted_and_nothing_else_is_done() {
        let mut log = TurnLog::default();
        let lines = "a line\n".repeat(20_000);
        log.write(StdStream::Stdout, lines.as_bytes());
        let kept = log.lines.len();
        assert_eq!(log.take().1, (20_000 - kept as u64) * 6);
    }

    #[test]
    fn the_last_words_are_those_of_the_exception() {
        let last_words = |stderr: &[u8]| {
            let mut log = TurnLog::default();
            log.write(StdStream::Stderr, stderr);
            log.last_words()
        };
        let python =
            b"Traceback (most recent call last):\n  File \"agent.py\", line 7, in handle\n    \
            load()\nValueError: no luck\nand more of it\n\nthread '<unnamed>' (1) panicked at \
            runtime/src/lib.rs:1:1:\nPython function threw an unexpected exception\n";
        assert_eq!(last_words(python).as_deref(), Some("ValueError: no luck and more of it"));
        let javascript =
            b"working\nno luck, and `SyntaxError` is no `Failure`\nStack:\n  handle@a.js:8\n\
            \nRedirecting call to abort() to mozalloc_abort\n\n";
        let line = "no luck, and `SyntaxError` is no `Failure`";
        assert_eq!(last_words(javascript).as_deref(), Some(line));
        assert_eq!(last_words(b"Traceback (most recent call last):\n"), None);
        assert_eq!(last_words(b"  all is indented\n").as_deref(), Some("all is indented"));
        assert_eq!(last_words(b""), None);
    }

    #[test]
    fn the_last_words_are_those_of_the_panic() {
        let mut log = TurnLog::default();
        log.write(StdStream::Stderr, b"working\n\nthread 'main' panicked at src/lib.rs:7:5:\nno luck\nnote: run with `RUST_BACKTRACE=1` environment variable to display a backtrace\n");
        assert_eq!(
            log.last_words().as_deref(),
            Some("thread 'main' panicked at src/lib.rs:7:5: no luck")
        );
    }
}
