//! Sessions that ask each other: who waits for whom, and how a question becomes a turn of the session that is asked.
//!
//! A session has one turn at a time, so it waits for the answer of one other at most: a question that would close a ring
//! of such waits is refused, because nobody in it would ever answer.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use super::registry::Registry;
use super::request::{AnswerSource, NewMessage, SendError, Unavailable};
use super::{idempotency, members};
use crate::gate::asks::{AskPeers, PeerAnswer, Question};
use crate::turn::admission::TurnDenied;
use dormouse_domain::access::Access;
use dormouse_domain::ask::{AskError, MAX_ASK_BYTES, MAX_FAILURE_TEXT};
use dormouse_domain::id::SessionId;
use dormouse_domain::inactive::NotActive;
use dormouse_domain::mail::Peer;
use dormouse_domain::message::{self, OnBusy};
use dormouse_domain::session::Session;
use dormouse_domain::turn::{IdempotencyKey, Part, Sender, TurnOutcome, TurnRecord};
use dormouse_store::StoreError;

/// The sessions that wait for an answer, each with the one that it has asked.
#[derive(Default)]
pub(crate) struct Asks(Mutex<HashMap<SessionId, SessionId>>);

/// A session waits for an answer, until this is dropped.
struct Asking {
    asks: Arc<Asks>,
    asker: SessionId,
}

impl Asks {
    /// One session waits for another from now on. `None`: that one waits for this one already, through others or not.
    fn begin(self: &Arc<Self>, asker: SessionId, asked: SessionId) -> Option<Asking> {
        let mut waits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = Some(asked);
        while let Some(session) = next {
            if session == asker {
                return None;
            }
            next = waits.get(&session).copied();
        }
        waits.insert(asker, asked);
        Some(Asking { asks: Arc::clone(self), asker })
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        let mut waits = self.asks.0.lock().unwrap_or_else(PoisonError::into_inner);
        waits.remove(&self.asker);
    }
}

/// Asks the sessions of a host.
pub(crate) struct PeerLine(pub(crate) Arc<Registry>);

impl AskPeers for PeerLine {
    fn ask(&self, question: Question) -> Pin<Box<dyn Future<Output = PeerAnswer> + Send>> {
        let registry = Arc::clone(&self.0);
        Box::pin(async move {
            let clock = registry.services().clock.clone();
            let timeout = clock.sleep_until(clock.now().after(question.timeout));
            tokio::select! {
                biased;
                answer = ask(&registry, question) => answer,
                () = timeout => Err(AskError::TimedOut),
            }
        })
    }

    fn create_member(
        &self,
        of: Arc<Session>,
        member: SessionId,
    ) -> Pin<Box<dyn Future<Output = bool> + Send>> {
        let registry = Arc::clone(&self.0);
        Box::pin(async move { members::provide(registry.services(), &of, member).await.is_ok() })
    }
}

async fn ask(registry: &Arc<Registry>, question: Question) -> PeerAnswer {
    let Question { asker: session, turn, seq, to, content, .. } = question;
    let (asker, owner) = (session.id, session.owner.clone());
    let services = registry.services();
    members::provide(services, &session, to).await?;
    match services.store.is_owner(to, &owner) {
        Ok(true) => {}
        Ok(false) => return Err(AskError::UnknownPeer),
        Err(error) => return refused(error.into()).await,
    }
    // No client has such a key: it has spaces.
    let key = IdempotencyKey { owner: owner.clone(), key: format!("ask {asker} {turn} {seq}") };
    let request = message::digest(to, &content);
    match idempotency::recorded_turn(&*services.store, &key, request, to).await {
        Ok(None) => {}
        Ok(Some(number)) => return recorded(registry, to, number).await,
        Err(error) => return refused(error).await,
    }
    let Some(_asking) = services.asks.begin(asker, to) else { return Err(AskError::Cycle) };
    let message = NewMessage {
        sender: Sender::Agent(Peer { session: asker, name: None }),
        content,
        key: Some((key.clone(), request)),
        on_busy: OnBusy::Queue,
        if_revision: None,
        rated: None,
    };
    let ended = match registry.send(to, &Access::user(owner), message) {
        Ok(AnswerSource::Driver(answer, _)) => match answer.await {
            Ok(ended) => ended,
            Err(_) => Err(Unavailable::ShuttingDown.into()),
        },
        Ok(AnswerSource::Followed(first)) => {
            first.turn.output.ended().await;
            let refusal = first.turn.refusal.get().cloned();
            match refusal {
                Some(error) => Err(error),
                None => match idempotency::recorded_turn(&*services.store, &key, request, to).await
                {
                    Ok(Some(number)) => return recorded(registry, to, number).await,
                    Ok(None) => Err(Unavailable::ShuttingDown.into()),
                    Err(error) => Err(error),
                },
            }
        }
        Err(error) => Err(error),
    };
    match ended {
        Ok(ended) => said(ended.turn),
        Err(SendError::Failed(ended)) => said(ended.turn),
        Err(error) => refused(error).await,
    }
}

/// What a turn has come to that the question has led to before.
async fn recorded(registry: &Registry, id: SessionId, number: u64) -> PeerAnswer {
    match registry.services().store.turn(id, number).await {
        Ok(Some(turn)) => said(turn),
        Ok(None) => Err(AskError::Unavailable("its answer is not kept any more".to_owned())),
        Err(error) => refused(error.into()).await,
    }
}

/// What a turn has come to, for the one that has asked.
fn said(turn: TurnRecord) -> PeerAnswer {
    match turn.outcome {
        TurnOutcome::Answered { content, .. } => {
            let bytes: u64 = content.iter().map(|part: &Part| part.len() as u64).sum();
            if bytes > MAX_ASK_BYTES { Err(AskError::TooLarge) } else { Ok(content) }
        }
        TurnOutcome::Failed(failure) => Err(AskError::Failed {
            code: failure.code.as_str().to_owned(),
            message: bounded(failure.message),
        }),
    }
}

/// Why no turn was begun. A host that shuts down answers nothing: the turn that asks is left to its journal, and the next
/// host asks again.
async fn refused(error: SendError) -> PeerAnswer {
    Err(match error {
        SendError::Unavailable(
            Unavailable::ShuttingDown
            | Unavailable::Store(StoreError::Closed | StoreError::Unknown(_)),
        ) => return std::future::pending().await,
        SendError::Unavailable(Unavailable::NotFound(_)) => AskError::UnknownPeer,
        SendError::Denied(TurnDenied::Paused) => AskError::Paused,
        SendError::Denied(TurnDenied::NotActive(NotActive { status, .. })) if status.is_final() => {
            AskError::Ended
        }
        SendError::QueueFull(_)
        | SendError::Busy(_)
        | SendError::ShareSpent
        | SendError::RateLimited(_) => AskError::Busy,
        SendError::TooLarge => AskError::TooLarge,
        error @ (SendError::Unavailable(
            Unavailable::Damaged(_)
            | Unavailable::Unusable(_)
            | Unavailable::OutOfMemory
            | Unavailable::Store(_)
            | Unavailable::Host(_),
        )
        | SendError::Denied(_)
        | SendError::IdempotencyKeyReused(_)
        | SendError::TurnGone(_)
        | SendError::PreconditionFailed(_)
        | SendError::Failed(_)
        | SendError::Forbidden(_)
        | SendError::Invalid(_)) => AskError::Unavailable(bounded(error.to_string())),
    })
}

/// A text that is no longer than the text of a failure may be.
fn bounded(mut text: String) -> String {
    if text.len() > MAX_FAILURE_TEXT {
        let end = (0..=MAX_FAILURE_TEXT).rev().find(|end| text.is_char_boundary(*end));
        text.truncate(end.unwrap_or(0));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn no_ring_of_sessions_waits_for_itself() {
        let asks = Arc::new(Asks::default());
        let id = |number| SessionId(Uuid::from_u128(number));
        assert!(asks.begin(id(1), id(1)).is_none(), "itself");
        let first = asks.begin(id(1), id(2)).expect("nobody waits");
        let _second = asks.begin(id(2), id(3)).expect("the third waits for nobody");
        assert!(asks.begin(id(3), id(1)).is_none());
        assert!(asks.begin(id(3), id(2)).is_none());
        let _other = asks.begin(id(4), id(2)).expect("two may wait for the same");
        drop(first);
        assert!(asks.begin(id(3), id(1)).is_some(), "the first does not wait any more");
    }
}
