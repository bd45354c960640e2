//! Streams of events: how they are written. What the stream of a turn tells is in `turn_stream.rs`, and that of
//! the log in `follow.rs`.
//!
//! Known clients take each network chunk apart at line breaks and read each line by itself: so an
//! event is one chunk, written whole, and small. A task of its own writes; a reader that does not
//! keep up is disconnected, and slows nobody. A turn does not end with its reader.
//!
//! What waits for a reader is bounded in events and bytes, and charged as all answers are until it is
//! written.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tracing::Instrument;

use super::Api;
use super::documents::{self, Documents};
use super::held;
use super::intake::RequestSlot;
use super::model::message::{Dialect, StreamEvent};
use super::turn_stream::JoinedText;
use dormouse::{Principal, TurnRecord};
use dormouse_base::memory::pool::{Charge, Pool};

/// Events that wait for a reader at most.
const WAITING: usize = 32;

/// Bytes that wait for a reader at most, unless one event alone has more.
const WAITING_BYTES: u32 = 64 << 10;

/// A comment, which tells proxies that the stream is alive.
const HEARTBEAT: &[u8] = b": alive\n\n";

/// The reader has gone, or does not read.
#[derive(Debug)]
pub(super) struct Gone;

/// Where in a stream a reader is: `turn.attempt.seq`. A turn that is run again, because a host has ended in the middle of
/// it, has everything anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StreamPosition {
    pub(super) turn: u64,
    pub(super) attempt: u32,
    pub(super) seq: u64,
}

impl StreamPosition {
    /// Before the first event of this turn.
    pub(super) fn start(turn: u64) -> StreamPosition {
        StreamPosition { turn, attempt: 1, seq: 0 }
    }

    /// From the `Last-Event-ID` that a client sends.
    pub(super) fn parse(text: &str) -> Option<StreamPosition> {
        let mut parts = text.split('.').map(|part| part.parse::<u64>().ok());
        let (turn, attempt, seq) = (parts.next()??, parts.next()??, parts.next()??);
        let attempt = u32::try_from(attempt).ok().filter(|attempt| *attempt > 0)?;
        let is_whole = turn > 0 && parts.next().is_none();
        is_whole.then_some(StreamPosition { turn, attempt, seq })
    }

    /// An event of about so many bytes that has its id by this place, as it is written.
    pub(super) fn numbered(self, event: &StreamEvent<'_>, bytes: u64) -> String {
        let StreamPosition { turn, attempt, seq } = self;
        let mut text = format!("id: {turn}.{attempt}.{seq}\ndata: ").into_bytes();
        let begin = text.len();
        text.reserve(usize::try_from(bytes).unwrap_or(0) + 256);
        // Strings, numbers and maps with string keys: there is nothing that JSON cannot hold.
        let _ = serde_json::to_writer(&mut text, event);
        let mut text = String::from_utf8(text).unwrap_or_default();
        if let Some(line) = in_one_line(&text[begin..]) {
            text.truncate(begin);
            text.push_str(&line);
        }
        text.push_str("\n\n");
        text
    }
}

/// Answer with the stream of a turn that `write` writes, from after this place on.
pub(super) fn respond<F>(
    api: &Api,
    slot: RequestSlot,
    from: StreamPosition,
    write: impl FnOnce(EventWriter) -> F,
) -> Response
where
    F: Future<Output = Result<(), Gone>> + Send + 'static,
{
    open(api, slot, |waiting| {
        write(EventWriter {
            waiting,
            turn: from.turn,
            attempt: from.attempt,
            seq: 0,
            seen: from.seq,
            dialect: Dialect::Session,
            joined: JoinedText::default(),
        })
    })
}

/// Answer with a stream that `write` writes.
pub(super) fn open<F>(api: &Api, slot: RequestSlot, write: impl FnOnce(EventQueue) -> F) -> Response
where
    F: Future<Output = Result<(), Gone>> + Send + 'static,
{
    let (sender, receiver) = mpsc::channel(WAITING);
    let writing = write(EventQueue {
        sender: sender.clone(),
        room: Arc::new(Semaphore::new(WAITING_BYTES as usize)),
        answers: api.answers.clone(),
        documents: api.documents.clone(),
        principal: slot.principal().clone(),
        stall: api.options.stall_timeout,
    });
    let (heartbeat, cut) = (api.options.heartbeat, api.closing.streams.clone());
    let writing = async move {
        let _slot = slot;
        tokio::pin!(writing);
        loop {
            tokio::select! {
                // A reader that went away needs no end of the stream.
                _ = &mut writing => break,
                () = sender.closed() => break,
                () = cut.cancelled() => break,
                () = tokio::time::sleep(heartbeat) => {
                    // A full channel is a sign of life as well.
                    let _ = sender.try_send(Bytes::from_static(HEARTBEAT));
                }
            }
        }
    };
    tokio::spawn(writing.in_current_span());
    let chunks = futures::stream::unfold(receiver, |mut receiver| async move {
        let chunk = receiver.recv().await?;
        Some((Ok::<_, Infallible>(chunk), receiver))
    });
    let mut response = Response::new(Body::from_stream(chunks));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// Writes the events of one turn, and counts them.
pub(super) struct EventWriter {
    waiting: EventQueue,
    turn: u64,
    attempt: u32,
    seq: u64,
    /// The number of the last event that the reader has already.
    seen: u64,
    pub(super) dialect: Dialect,
    pub(super) joined: JoinedText,
}

/// What waits for a reader.
pub(super) struct EventQueue {
    sender: mpsc::Sender<Bytes>,
    /// One for each byte that may wait.
    room: Arc<Semaphore>,
    answers: Pool,
    documents: Documents,
    principal: Principal,
    /// How long a reader may take for an event.
    stall: Duration,
}

impl EventQueue {
    /// Add a small event, once there is room for it. What all of these take is bounded by the number of
    /// streams, and charged whatever there is.
    pub(super) async fn push(&self, event: String) -> Result<(), Gone> {
        let mut charge = self.answers.of(&self.principal);
        charge.force(event.len() as u64);
        self.queue(event, charge).await
    }

    /// Add the event with the content of a turn, which may be large: it is rendered once there is memory for
    /// it. If it has to wait for that, the turn is not kept meanwhile, but read again.
    async fn push_content(
        &self,
        turn: TurnRecord,
        again: impl Future<Output = Option<TurnRecord>>,
        render: impl FnOnce(TurnRecord) -> String + Send + 'static,
    ) -> Result<(), Gone> {
        let length = documents::length_of(&turn);
        let mut charge = self.answers.of(&self.principal);
        let turn = if length <= u64::from(WAITING_BYTES) {
            charge.force(length);
            turn
        } else if charge.grow(length).is_ok() {
            turn
        } else {
            drop(turn);
            let patience = self.stall;
            let afforded = held::afford(&self.answers, &self.principal, length, patience).await;
            charge = afforded.ok_or(Gone)?;
            again.await.ok_or(Gone)?
        };
        let rendering = self.documents.work(&self.principal, length, move || render(turn));
        let event = rendering.await.map_err(|_| Gone)?;
        // What stands around the content.
        charge.force((event.len() as u64).saturating_sub(length));
        self.queue(event, charge).await
    }

    async fn queue(&self, event: String, charge: Charge) -> Result<(), Gone> {
        let bytes = u32::try_from(event.len()).unwrap_or(u32::MAX).min(WAITING_BYTES);
        let queueing = async {
            let room = Arc::clone(&self.room).acquire_many_owned(bytes).await.map_err(|_| Gone)?;
            let event = QueuedEvent { bytes: held::charged(event.into(), charge), _room: room };
            self.sender.send(Bytes::from_owner(event)).await.map_err(|_| Gone)
        };
        tokio::time::timeout(self.stall, queueing).await.map_err(|_| Gone)?
    }
}

/// An event that waits for its reader.
struct QueuedEvent {
    bytes: Bytes,
    _room: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for QueuedEvent {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl EventWriter {
    /// The same, in another dialect.
    pub(super) fn speaking(self, dialect: Dialect) -> EventWriter {
        EventWriter { dialect, ..self }
    }

    /// Count one more piece. Answers whether the reader has not had it yet.
    pub(super) fn count(&mut self) -> bool {
        self.seq += 1;
        self.seq > self.seen
    }

    /// Write an event of the piece that was counted last.
    pub(super) async fn write_here(&mut self, event: &StreamEvent<'_>) -> Result<(), Gone> {
        let event = self.place().numbered(event, 0);
        self.push(event).await
    }

    /// Write an event that comes before all pieces.
    pub(super) async fn announce(&mut self, event: &StreamEvent<'_>) -> Result<(), Gone> {
        let place = StreamPosition { seq: 0, ..self.place() };
        self.push(place.numbered(event, 0)).await
    }

    /// Follow this attempt at the turn from here on. Where the reader has anything of an earlier one, it is told that
    /// everything comes anew.
    pub(super) async fn enter(&mut self, attempt: u32) -> Result<(), Gone> {
        if attempt <= self.attempt {
            return Ok(());
        }
        (self.attempt, self.seen) = (attempt, 0);
        let _ = self.joined.take();
        if self.dialect != Dialect::Session {
            return Ok(());
        }
        self.announce(&StreamEvent::TurnRestarted { turn: self.turn, attempt }).await
    }

    /// An event that the reader gets in any case.
    pub(super) async fn write(&mut self, event: &StreamEvent<'_>) -> Result<(), Gone> {
        let event = self.rendered(event);
        self.push(event).await
    }

    /// The next event, as it is written.
    pub(super) fn rendered(&mut self, event: &StreamEvent<'_>) -> String {
        self.next().numbered(event, 0)
    }

    /// The place of the next event.
    pub(super) fn next(&mut self) -> StreamPosition {
        // Where a reader is said to be is its own word.
        self.seq = self.seq.max(self.seen).saturating_add(1);
        self.place()
    }

    /// Where the writer is.
    pub(super) fn place(&self) -> StreamPosition {
        StreamPosition { turn: self.turn, attempt: self.attempt, seq: self.seq }
    }

    /// Write an event that was rendered, once there is room for it.
    pub(super) async fn push(&self, event: String) -> Result<(), Gone> {
        self.waiting.push(event).await
    }

    /// Write the event with the content of a turn, which may be large, as [`EventQueue::push_content`] says.
    pub(super) async fn push_content(
        &self,
        turn: TurnRecord,
        again: impl Future<Output = Option<TurnRecord>>,
        render: impl FnOnce(TurnRecord) -> String + Send + 'static,
    ) -> Result<(), Gone> {
        self.waiting.push_content(turn, again, render).await
    }
}

/// A JSON document without anything that some reader takes for the end of a line. Line breaks stand
/// between the tokens of a document that an agent wrote, where a space says the same; the others of
/// Unicode, which only strings can have, are escaped. `None`: it is such a document.
pub(super) fn in_one_line(document: &str) -> Option<String> {
    const BREAKS: [char; 5] = ['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}'];
    if !document.contains(BREAKS) {
        return None;
    }
    let mut line = String::with_capacity(document.len() + 64);
    let mut rest = document;
    while let Some(at) = rest.find(BREAKS) {
        let (before, broken) = rest.split_at(at);
        let mut after = broken.chars();
        line.push_str(before);
        line.push_str(match after.next() {
            Some('\u{85}') => "\\u0085",
            Some('\u{2028}') => "\\u2028",
            Some('\u{2029}') => "\\u2029",
            _ => " ",
        });
        rest = after.as_str();
    }
    line.push_str(rest);
    Some(line)
}

#[cfg(test)]
pub(super) mod for_tests {
    use super::*;
    use dormouse_base::memory::MemoryBudget;
    use dormouse_base::shares::Callers;

    /// A writer for turn 2 whose reader has seen the events up to this one, and what it writes.
    pub(crate) fn writer(seen: u64) -> (EventWriter, mpsc::Receiver<Bytes>) {
        let (sender, receiver) = mpsc::channel(WAITING);
        let waiting = EventQueue {
            sender,
            room: Arc::new(Semaphore::new(WAITING_BYTES as usize)),
            answers: Pool::new(&MemoryBudget::new(1 << 30), 0, Callers::one()),
            documents: Documents::new(Callers::one()),
            principal: Principal::local(),
            stall: Duration::from_secs(1),
        };
        let (dialect, joined) = (Dialect::Session, JoinedText::default());
        (EventWriter { waiting, turn: 2, attempt: 1, seq: 0, seen, dialect, joined }, receiver)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_turn_its_attempt_and_a_number() {
        let place = StreamPosition { turn: 3, attempt: 2, seq: 17 };
        assert_eq!(StreamPosition::parse("3.2.17"), Some(place));
        for text in ["", "3", "3.1", "3.0.1", "0.1.1", "3.1.1.1", "3.1.x", "-3.1.1"] {
            assert_eq!(StreamPosition::parse(text), None, "{text}");
        }
    }
}
