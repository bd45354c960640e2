//! Questions to the agents of other sessions: each is noted before it leaves, and its answer before it is told.
//!
//! A question can be asked again: it has the same key, and the session that is asked answers it once.

use std::pin::Pin;
use std::time::Duration;

use super::Gate;
use dormouse_domain::ask::{AskError, PeerAsk};
use dormouse_domain::effect::EffectError;
use dormouse_domain::id::{Principal, SessionId, TurnId};
use dormouse_domain::journal::{EffectOutcome, EffectTarget};
use dormouse_domain::turn::Part;

/// A question, and who asks it.
pub(crate) struct Question {
    /// The session that asks, and its owner.
    pub(crate) asker: SessionId,
    pub(crate) owner: Principal,
    /// The turn that asks, and the place of the question among its effects.
    pub(crate) turn: TurnId,
    pub(crate) seq: u32,
    /// The session that is asked.
    pub(crate) to: SessionId,
    pub(crate) content: Vec<Part>,
    pub(crate) timeout: Duration,
}

/// The answer to a question.
pub(crate) type PeerAnswer = Result<Vec<Part>, AskError>;

/// Who asks the agents of other sessions.
pub(crate) trait AskPeers: Send + Sync {
    /// Ask, and wait for the answer. Whoever is asked goes on where this is dropped.
    fn ask(&self, question: Question) -> Pin<Box<dyn Future<Output = PeerAnswer> + Send>>;
}

impl Gate {
    /// Ask the agent of another session.
    ///
    /// # Errors
    /// The call of the guest ends.
    pub(super) async fn ask_peer(&mut self, ask: &PeerAsk) -> Result<PeerAnswer, EffectError> {
        let target = EffectTarget::Ask { peer: ask.address.clone() };
        let Some(to) = ask.to else {
            let refused = AskError::UnknownPeer;
            self.refuse_effect(target, refused.failure());
            return Ok(Err(refused));
        };
        let mut line = self.line(target, bytes_of(&ask.content));
        let attempt = self.begin_attempt(&line).await?;
        let question = Question {
            asker: self.session.id,
            owner: self.session.owner.clone(),
            turn: self.turn,
            seq: line.seq,
            to,
            content: ask.content.clone(),
            timeout: ask.timeout,
        };
        let answered = self.peers.ask(question).await;
        line.duration = attempt.end();
        (line.outcome, line.received) = match &answered {
            Ok(content) => (EffectOutcome::Answered, bytes_of(content)),
            Err(error) => (EffectOutcome::Failed(error.failure()), 0),
        };
        self.end_attempt(line);
        Ok(answered)
    }
}

fn bytes_of(content: &[Part]) -> u64 {
    content.iter().map(|part| part.len() as u64).sum()
}
