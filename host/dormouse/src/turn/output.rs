//! The stream of a running turn: the pieces that it has streamed so far, for any number of readers, and the tool that it
//! waits for.
//!
//! The guest appends and never waits; each reader follows at its own pace. All of it is provisional
//! until the turn has committed. It is bounded by what one turn may stream, charged to the host's
//! memory, and goes with the last reader.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use dormouse_base::memory::Account;
use dormouse_domain::turn::Delta;

/// The bytes that a piece takes besides its text, at most.
const PIECE: usize = 96;

/// The stream of one turn.
#[derive(Clone, Default)]
pub struct TurnOutput(Arc<Shared>);

#[derive(Default)]
struct Shared {
    buffer: Mutex<Buffer>,
    changed: Notify,
}

#[derive(Default)]
struct Buffer {
    deltas: Vec<Delta>,
    /// The account that the pieces are charged to.
    account: Option<Account>,
    begun: Option<u64>,
    /// Which attempt at the turn this is the stream of, from 1.
    attempt: u32,
    /// The place of the first piece of this attempt.
    start: usize,
    ended: bool,
    /// The tool of the host that the turn waits for.
    tool: Option<String>,
}

impl TurnOutput {
    /// A stream that is charged to this account. A turn that runs is not refused what it streams: it
    /// may go over the budget, and then nothing else begins.
    pub(crate) fn charged(account: Account) -> TurnOutput {
        let output = TurnOutput::default();
        output.lock().account = Some(account);
        output
    }

    /// The guest is being called, for this attempt at the turn of this number.
    pub(crate) fn begin(&self, turn: u64, attempt: u32) {
        let mut buffer = self.lock();
        if attempt > buffer.attempt {
            buffer.start = buffer.deltas.len();
        }
        (buffer.begun, buffer.attempt) = (Some(turn), attempt);
        drop(buffer);
        self.0.changed.notify_waiters();
    }

    /// Which attempt at the turn this is the stream of, from 1: a later one has everything again. 0: none has begun.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.lock().attempt
    }

    /// Where a reader who has come to this place goes on: no piece of an attempt that was given up is of use.
    #[must_use]
    pub fn place_from(&self, place: usize) -> usize {
        place.max(self.lock().start)
    }

    /// Append a piece.
    pub(crate) fn push(&self, delta: Delta) {
        let mut buffer = self.lock();
        if let Some(account) = &mut buffer.account {
            account.overdraw((delta.len() + PIECE) as u64);
        }
        buffer.deltas.push(delta);
        drop(buffer);
        self.0.changed.notify_waiters();
    }

    /// Whether anything was streamed.
    pub(crate) fn has_deltas(&self) -> bool {
        !self.lock().deltas.is_empty()
    }

    /// The tool of the host that the turn waits for now, if it waits for one.
    #[must_use]
    pub fn tool(&self) -> Option<String> {
        self.lock().tool.clone()
    }

    /// The turn waits for this tool until what this returns is dropped.
    pub(crate) fn in_tool(&self, name: &str) -> InTool {
        self.lock().tool = Some(name.to_owned());
        InTool(self.clone())
    }

    /// Nothing more comes.
    pub(crate) fn end(&self) {
        self.lock().ended = true;
        self.0.changed.notify_waiters();
    }

    /// The piece at this place, counted from 0. Waits for it; `None` once the turn is over and there
    /// is none.
    pub async fn get(&self, place: usize) -> Option<Delta> {
        loop {
            let changed = self.0.changed.notified();
            tokio::pin!(changed);
            // Registered before the look: what is pushed in between is not missed.
            changed.as_mut().enable();
            {
                let buffer = self.lock();
                if let Some(delta) = buffer.deltas.get(place) {
                    return Some(delta.clone());
                }
                if buffer.ended {
                    return None;
                }
            }
            changed.await;
        }
    }

    /// The piece at this place, if it is there already.
    #[must_use]
    pub fn ready(&self, place: usize) -> Option<Delta> {
        self.lock().deltas.get(place).cloned()
    }

    /// Whether nothing more comes.
    pub(crate) fn has_ended(&self) -> bool {
        self.lock().ended
    }

    /// Waits until the turn is over, or will never begin.
    pub async fn ended(&self) {
        loop {
            let changed = self.0.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.lock().ended {
                return;
            }
            changed.await;
        }
    }

    /// The number of the turn, once the guest is being called. Waits for it; `None` where it was over
    /// before that.
    pub async fn begun(&self) -> Option<u64> {
        loop {
            let changed = self.0.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            {
                let buffer = self.lock();
                if buffer.begun.is_some() || buffer.ended {
                    return buffer.begun;
                }
            }
            changed.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Buffer> {
        self.0.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A tool that a turn waits for.
pub(crate) struct InTool(TurnOutput);

impl Drop for InTool {
    fn drop(&mut self) {
        self.0.lock().tool = None;
    }
}

/// Ends the stream when the turn is over, or when its message is dropped before: no reader waits for ever.
pub(crate) struct OutputGuard(pub(crate) TurnOutput);

impl Drop for OutputGuard {
    fn drop(&mut self) {
        self.0.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_turn_that_was_refused_never_begins() {
        let output = TurnOutput::default();
        let waiting = output.clone();
        let begun = tokio::spawn(async move { waiting.begun().await });
        tokio::task::yield_now().await;
        output.end();
        assert_eq!(begun.await.expect("no panic"), None);
    }

    #[test]
    fn readers_of_a_turn_that_is_run_again_go_on_with_its_newest_attempt() {
        let (output, text) = (TurnOutput::default(), || Delta::Text("one".to_owned()));
        output.begin(1, 1);
        output.push(text());
        output.begin(1, 1);
        assert_eq!(output.place_from(0), 0, "nothing was given up");
        output.begin(1, 2);
        assert_eq!((output.place_from(0), output.place_from(3)), (1, 3));
        assert_eq!((output.ready(1), output.attempt()), (None, 2));
    }

    #[tokio::test]
    async fn readers_that_come_late_get_everything() {
        let output = TurnOutput::default();
        output.push(Delta::Text("one".to_owned()));
        let reader = output.clone();
        let late =
            tokio::spawn(
                async move { (reader.get(0).await, reader.get(1).await, reader.get(2).await) },
            );
        tokio::task::yield_now().await;
        output.push(Delta::Text("two".to_owned()));
        output.end();
        let (one, two, three) = late.await.expect("no panic");
        assert_eq!(one, Some(Delta::Text("one".to_owned())));
        assert_eq!(two, Some(Delta::Text("two".to_owned())));
        assert_eq!(three, None);
    }
}
