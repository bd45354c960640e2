//! Streams of events: how they are written, and those of one turn. Those of the log are in `follow.rs`.
//!
//! Known clients take each network chunk apart at line breaks and read each line by itself: so an
//! event is one chunk, written whole, and small. A task of its own writes; a reader that does not
//! keep up is disconnected, and slows nobody. A turn does not end with its reader.
//!
//! What waits for a reader is bounded in events and bytes, and charged as all answers are until it is
//! written.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use futures::FutureExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::Api;
use super::documents::{self, Documents};
use super::error::ApiError;
use super::frame::RequestId;
use super::held;
use super::intake::RequestSlot;
use super::model::ignored::Ignored;
use super::model::message::StreamEvent;
use dormouse::{
    Clock, Delta, Part, Principal, Reply, SendError, SessionHandle, SessionInfo, TurnOutcome,
    TurnOutput, TurnRecord,
};
use dormouse_base::memory::pool::{Charge, Pool};

/// The most bytes of text in one event.
const MAX_DELTA: usize = 4 * 1024;

/// Events that wait for a reader at most.
const WAITING: usize = 32;

/// Bytes that wait for a reader at most, unless one event alone has more.
const WAITING_BYTES: u32 = 64 << 10;

/// A comment, which tells proxies that the stream is alive.
const HEARTBEAT: &[u8] = b": alive\n\n";

/// The reader has gone, or does not read.
#[derive(Debug)]
pub(super) struct Gone;

/// Where in a stream a reader is: `turn.attempt.seq`. There is one attempt yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StreamPosition {
    pub(super) turn: u64,
    pub(super) seq: u64,
}

impl StreamPosition {
    /// Before the first event of this turn.
    pub(super) fn start(turn: u64) -> StreamPosition {
        StreamPosition { turn, seq: 0 }
    }

    /// From the `Last-Event-ID` that a client sends.
    pub(super) fn parse(text: &str) -> Option<StreamPosition> {
        let mut parts = text.split('.').map(|part| part.parse::<u64>().ok());
        let (turn, attempt, seq) = (parts.next()??, parts.next()??, parts.next()??);
        (turn > 0 && attempt == 1 && parts.next().is_none()).then_some(StreamPosition { turn, seq })
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
        write(EventWriter { waiting, turn: from.turn, seq: 0, seen: from.seq })
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
    tokio::spawn(async move {
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
    });
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
    seq: u64,
    /// The number of the last event that the reader has already.
    seen: u64,
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
    /// Follow what the turn streams, until it is over.
    pub(super) async fn follow(&mut self, output: &TurnOutput) -> Result<(), Gone> {
        let mut place = 0;
        while let Some(delta) = output.get(place).await {
            self.delta(delta).await?;
            place += 1;
        }
        Ok(())
    }

    async fn delta(&mut self, delta: Delta) -> Result<(), Gone> {
        match delta {
            Delta::Text(text) => {
                for piece in pieces(&text) {
                    self.provisional(&StreamEvent::text(piece)).await?;
                }
                Ok(())
            }
            Delta::Event { name, data } => {
                self.provisional(&StreamEvent::named(&name, &data)).await
            }
        }
    }

    /// An event that the reader may have already.
    async fn provisional(&mut self, event: &StreamEvent<'_>) -> Result<(), Gone> {
        if self.seq < self.seen {
            self.seq += 1;
            return Ok(());
        }
        self.write(event).await
    }

    /// An event that the reader gets in any case.
    pub(super) async fn write(&mut self, event: &StreamEvent<'_>) -> Result<(), Gone> {
        let event = self.rendered(event);
        self.waiting.push(event).await
    }

    /// The last two events of a turn of this session that was answered. What they are made of may be
    /// large: it is dropped before they wait for their reader.
    pub(super) async fn conclude(
        mut self,
        session: &SessionHandle,
        turn: TurnRecord,
        after: SessionInfo,
        latency: Duration,
        ignored: Ignored,
    ) -> Result<(), Gone> {
        let (number, seq) = (turn.number, self.next());
        let done = self.rendered(&StreamEvent::done(&turn, after, latency, ignored));
        let again = async { session.turn(number).await.ok()? };
        let message = move |turn: TurnRecord| {
            let bytes = documents::length_of(&turn);
            let event = StreamEvent::message(content_of(&turn));
            drop(turn);
            numbered(number, seq, &event, bytes)
        };
        self.waiting.push_content(turn, again, message).await?;
        self.waiting.push(done).await
    }

    /// The next event, as it is written.
    fn rendered(&mut self, event: &StreamEvent<'_>) -> String {
        let seq = self.next();
        numbered(self.turn, seq, event, 0)
    }

    /// The number of the next event.
    fn next(&mut self) -> u64 {
        // Where a reader is said to be is its own word.
        self.seq = self.seq.max(self.seen).saturating_add(1);
        self.seq
    }
}

/// An event as it is written, which has about so many bytes.
fn numbered(turn: u64, seq: u64, event: &StreamEvent<'_>, bytes: u64) -> String {
    let mut text = format!("id: {turn}.1.{seq}\ndata: ").into_bytes();
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

fn content_of(turn: &TurnRecord) -> &[Part] {
    match &turn.outcome {
        TurnOutcome::Answered { content, .. } => content,
        TurnOutcome::Failed(_) => &[],
    }
}

/// A turn that somebody waits for.
pub(super) struct Answering {
    pub(super) output: TurnOutput,
    pub(super) session: SessionHandle,
    pub(super) reply: Pin<Box<dyn Future<Output = Result<Reply, SendError>> + Send>>,
    pub(super) clock: Clock,
    pub(super) since: Duration,
    pub(super) request_id: RequestId,
    pub(super) ignored: Ignored,
}

impl Answering {
    /// Write what the agent streams, and what came of it.
    pub(super) async fn write(mut self, mut writer: EventWriter) -> Result<(), Gone> {
        let mut ended = None;
        let mut place = 0;
        loop {
            let delta = match &ended {
                None => tokio::select! {
                    biased;
                    delta = self.output.get(place) => delta,
                    reply = &mut self.reply => {
                        ended = Some(reply);
                        continue;
                    }
                },
                // The turn is over: what is not there now never comes.
                Some(_) => self.output.get(place).now_or_never().flatten(),
            };
            let Some(delta) = delta else { break };
            writer.delta(delta).await?;
            place += 1;
        }
        let Answering { output, reply, session: handle, clock, since, request_id, ignored } = self;
        drop(output);
        let ended = match ended {
            Some(ended) => ended,
            None => reply.await,
        };
        match ended {
            Ok(Reply { turn, session }) => {
                let latency = clock.monotonic().saturating_sub(since);
                writer.conclude(&handle, turn, session, latency, ignored).await
            }
            Err(error) => {
                let error = ApiError::from(error);
                if let Some(cause) = error.cause() {
                    let request = &*request_id.0;
                    tracing::error!(request, code = error.code(), cause, "a stream has failed");
                }
                writer.write(&StreamEvent::error(&error, &request_id.0)).await
            }
        }
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

/// A text in pieces that are small enough for one event, none of them cut within a character.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (piece, after) = rest.split_at(rest.floor_char_boundary(MAX_DELTA));
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use dormouse_base::memory::MemoryBudget;
    use dormouse_base::shares::Callers;

    #[test]
    fn long_text_is_cut_between_characters_and_nothing_is_lost() {
        for text in ["", "short", &"x".repeat(MAX_DELTA), &"ä€𝄞".repeat(3_000)] {
            let cut: Vec<&str> = pieces(text).collect();
            assert_eq!(cut.concat(), text);
            assert!(cut.iter().all(|piece| (1..=MAX_DELTA).contains(&piece.len())));
            assert!(cut.len() <= text.len() / (MAX_DELTA - 3) + 1);
        }
    }

    #[tokio::test]
    async fn no_event_has_a_line_break_of_any_kind_in_its_data() {
        let (mut writer, mut chunks) = writer(0);
        let breaks = "a\u{2028}b\u{2029}c\u{85}d\r\ne";
        let data = format!("{{\n \"x\" :\r\n[ {} ]}}", serde_json::to_string(breaks).unwrap());
        let name = breaks.to_owned();
        writer.delta(Delta::Text(breaks.to_owned())).await.unwrap();
        writer.delta(Delta::Event { name, data: data.clone() }).await.unwrap();
        let content = [dormouse::Part::Json(data.clone())];
        writer.write(&StreamEvent::message(&content)).await.unwrap();
        for field in ["/data/event/delta/text", "/data/x/0", "/data/parts/0/json/x/0"] {
            let chunk = String::from_utf8(chunks.recv().await.unwrap().to_vec()).unwrap();
            let (_, data) = chunk.strip_suffix("\n\n").unwrap().split_once("\ndata: ").unwrap();
            assert!(!data.contains(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']), "{data}");
            let told: serde_json::Value = serde_json::from_str(data).unwrap();
            assert_eq!(told.pointer(field).unwrap(), breaks, "{data}");
        }
    }

    #[test]
    fn a_place_is_a_turn_its_attempt_and_a_number() {
        assert_eq!(StreamPosition::parse("3.1.17"), Some(StreamPosition { turn: 3, seq: 17 }));
        for text in ["", "3", "3.1", "3.2.1", "0.1.1", "3.1.1.1", "3.1.x", "-3.1.1"] {
            assert_eq!(StreamPosition::parse(text), None, "{text}");
        }
    }

    fn writer(seen: u64) -> (EventWriter, mpsc::Receiver<Bytes>) {
        let (sender, receiver) = mpsc::channel(WAITING);
        let waiting = EventQueue {
            sender,
            room: Arc::new(Semaphore::new(WAITING_BYTES as usize)),
            answers: Pool::new(&MemoryBudget::new(1 << 30), 0, Callers::One),
            documents: Documents::new(Callers::One),
            principal: Principal::local(),
            stall: Duration::from_secs(1),
        };
        (EventWriter { waiting, turn: 2, seq: 0, seen }, receiver)
    }

    #[tokio::test]
    async fn each_event_is_one_chunk_with_its_place() {
        let (mut writer, mut chunks) = writer(0);
        writer.delta(Delta::Text("a\nb".to_owned())).await.unwrap();
        let chunk = String::from_utf8(chunks.recv().await.unwrap().to_vec()).unwrap();
        assert!(chunk.starts_with("id: 2.1.1\ndata: {\"type\":") && chunk.ends_with("}\n\n"));
        assert_eq!(chunk.lines().count(), 3);
    }

    #[tokio::test]
    async fn a_reader_that_comes_back_gets_what_it_has_not_seen() {
        let (mut writer, mut chunks) = writer(2);
        for text in ["one", "two", "three"] {
            writer.delta(Delta::Text(text.to_owned())).await.unwrap();
        }
        let chunk = String::from_utf8(chunks.recv().await.unwrap().to_vec()).unwrap();
        assert!(chunk.starts_with("id: 2.1.3\n") && chunk.contains("three"), "{chunk}");
        assert!(chunks.try_recv().is_err());
    }
}
