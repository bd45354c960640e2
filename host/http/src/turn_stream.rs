//! What the stream of one turn consists of: what the agent streams, and what came of it.
//!
//! Text that is ready is joined into one event, and events of text leave some milliseconds apart: a reader that
//! takes each network chunk for whole lines meets few, and an answer of a thousand words stays small.

use std::pin::Pin;
use std::time::Duration;

use tokio::time::Sleep;

use super::Api;
use super::documents;
use super::error::ApiError;
use super::frame::RequestId;
use super::model::agent_stream;
use super::model::ignored::Ignored;
use super::model::message::{Dialect, StreamEvent};
use super::sse::{EventWriter, Gone};
use dormouse::{
    Delta, FailureCode, FinishedTurn, Part, Principal, Reply, SendError, SessionHandle,
    SessionInfo, TurnOutcome, TurnOutput, TurnRecord,
};

/// The most bytes of text in one event.
const MAX_DELTA: usize = 4 * 1024;

/// How long text is collected after an event of text. The first text of a turn leaves at once.
const PAUSE: Duration = Duration::from_millis(10);

/// Text that was streamed and is not written yet.
#[derive(Default)]
pub(super) struct JoinedText {
    text: String,
    /// Until then more text is waited for.
    pause: Option<Pin<Box<Sleep>>>,
}

impl JoinedText {
    /// Waits until text that is there may be written. Never, where there is none.
    async fn is_due(&mut self) {
        if self.text.is_empty() {
            return std::future::pending().await;
        }
        if let Some(pause) = &mut self.pause {
            pause.await;
        }
    }

    pub(super) fn take(&mut self) -> Option<String> {
        let text = Some(std::mem::take(&mut self.text)).filter(|text| !text.is_empty())?;
        self.pause = Some(Box::pin(tokio::time::sleep(PAUSE)));
        Some(text)
    }
}

impl EventWriter {
    /// Follow what the turn streams, until it is over.
    pub(super) async fn follow(&mut self, output: &TurnOutput) -> Result<(), Gone> {
        let mut place = 0;
        loop {
            place = output.place_from(place);
            let delta = match output.ready(place) {
                Some(delta) => Some(delta),
                None => tokio::select! {
                    biased;
                    delta = output.get(place) => delta,
                    () = self.joined.is_due() => {
                        self.flush().await?;
                        continue;
                    }
                },
            };
            let Some(delta) = delta else { return self.flush().await };
            if output.place_from(place) > place {
                continue;
            }
            self.enter(output.attempt()).await?;
            self.delta(delta).await?;
            place += 1;
        }
    }

    /// Each piece of text and each event of the agent has a number, the same for each reader; an event of joined
    /// text has the number of its last piece.
    async fn delta(&mut self, delta: Delta) -> Result<(), Gone> {
        match delta {
            Delta::Text(text) => {
                for piece in pieces(&text) {
                    if self.joined.text.len() + piece.len() > MAX_DELTA {
                        self.flush().await?;
                    }
                    if self.count() {
                        self.joined.text.push_str(piece);
                    }
                }
                Ok(())
            }
            Delta::Event { name, data } => {
                self.flush().await?;
                match self.count() {
                    true => self.write_here(&StreamEvent::named(&name, &data)).await,
                    false => Ok(()),
                }
            }
        }
    }

    /// Write the text that is not written yet.
    async fn flush(&mut self) -> Result<(), Gone> {
        let Some(text) = self.joined.take() else { return Ok(()) };
        let event = StreamEvent::text(self.dialect, &text);
        self.write_here(&event).await
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
        let (number, place) = (turn.number, self.next());
        let done = match self.dialect {
            Dialect::Session => StreamEvent::done(&turn, after, latency, ignored),
            Dialect::Agent { .. } => agent_stream::done(&turn, &after, latency, ignored),
        };
        let done = self.rendered(&done);
        let again = async { session.turn(number).await.ok()? };
        let message = move |turn: TurnRecord| {
            let bytes = documents::length_of(&turn);
            let event = StreamEvent::message(content_of(&turn));
            drop(turn);
            place.numbered(&event, bytes)
        };
        self.push_content(turn, again, message).await?;
        self.push(done).await
    }
}

fn content_of(turn: &TurnRecord) -> &[Part] {
    match &turn.outcome {
        TurnOutcome::Answered { content, .. } => content,
        TurnOutcome::Failed(_) => &[],
    }
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

/// A turn that somebody waits for.
pub(super) struct TurnAnswer {
    pub(super) output: TurnOutput,
    pub(super) session: SessionHandle,
    /// The session before the turn, where the stream begins with it.
    pub(super) before: Option<SessionInfo>,
    pub(super) reply: Pin<Box<dyn Future<Output = Result<Reply, SendError>> + Send>>,
    /// Whether an earlier message has begun the turn: its reply is read from the store.
    pub(super) replayed: bool,
    pub(super) api: Api,
    pub(super) principal: Principal,
    pub(super) since: Duration,
    pub(super) request_id: RequestId,
    pub(super) ignored: Ignored,
}

impl TurnAnswer {
    /// Write what the agent streams, and what came of it.
    pub(super) async fn write(self, mut writer: EventWriter) -> Result<(), Gone> {
        let TurnAnswer { output, session, before, reply, replayed, api, .. } = self;
        if let Some(before) = before {
            for event in agent_stream::opening(writer.dialect, &before) {
                writer.announce(&event).await?;
            }
        }
        writer.follow(&output).await?;
        drop(output);
        // A few at a time are read from the store, because they may be large.
        let admitted = match replayed {
            true => Some(api.readers.wait(&self.principal).await),
            false => None,
        };
        let ended = reply.await;
        drop(admitted);
        match ended {
            Ok(Reply { turn, session: after, replayed: _ }) => {
                let latency = api.host.clock().monotonic().saturating_sub(self.since);
                writer.conclude(&session, turn, after, latency, self.ignored).await
            }
            Err(error) => {
                let dialect = writer.dialect;
                if let Some(aborted) = agent_stream::aborted(dialect, session.id(), code_of(&error))
                {
                    return writer.write(&aborted).await;
                }
                let error = ApiError::from(error);
                let request = &*self.request_id.0;
                if let Some(cause) = error.cause() {
                    tracing::error!(code = error.code(), cause, "a stream has failed");
                }
                writer.write(&StreamEvent::error(&error, request)).await
            }
        }
    }
}

/// What the turn has failed with that was begun.
fn code_of(error: &SendError) -> Option<FailureCode> {
    let SendError::Failed(ended) = error else { return None };
    let FinishedTurn { turn, .. } = &**ended;
    match &turn.outcome {
        TurnOutcome::Failed(failure) => Some(failure.code),
        TurnOutcome::Answered { .. } => None,
    }
}

#[cfg(test)]
mod tests;
