//! Questions to the agents of other sessions: each is noted before it leaves, and its answer before it is told.
//!
//! A question can be asked again: it has the same key, and the session that is asked answers it once.

use std::pin::Pin;
use std::time::Duration;

use super::Gate;
use dormouse_domain::ask::{AskError, PeerAsk};
use dormouse_domain::effect::{EffectError, EffectKind};
use dormouse_domain::id::{Principal, SessionId, TurnId};
use dormouse_domain::journal::{Bill, EffectOutcome, EffectRecord, Provenance};
use dormouse_domain::limits::NanoUsd;
use dormouse_domain::model::TokenUsage;
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
        let mut line = self.line_of(ask);
        let Some(to) = ask.to else {
            let refused = AskError::UnknownPeer;
            line.outcome = EffectOutcome::Failed(refused.failure());
            count(&line);
            self.journal.refuse_call(line);
            return Ok(Err(refused));
        };
        self.journal.begin_call(line.clone()).await?;
        self.note_live();
        let clock = self.outside.clock.clone();
        let since = clock.monotonic();
        let question = Question {
            asker: self.session.id,
            owner: self.session.owner.clone(),
            turn: self.turn,
            seq: line.seq,
            to,
            content: ask.content.clone(),
            timeout: ask.timeout,
        };
        let in_call = self.time.call(&clock);
        let answered = self.peers.ask(question).await;
        drop(in_call);
        line.duration = clock.monotonic().saturating_sub(since);
        (line.outcome, line.received) = match &answered {
            Ok(content) => (EffectOutcome::Answered, bytes_of(content)),
            Err(error) => (EffectOutcome::Failed(error.failure()), 0),
        };
        count(&line);
        self.journal.end_call(line);
        Ok(answered)
    }

    /// The line of the ledger for a question that is about to be asked.
    fn line_of(&self, ask: &PeerAsk) -> EffectRecord {
        let (seq, fuel) = self.journal.place();
        EffectRecord {
            seq,
            attempt: u32::try_from(self.journal.calls().len() + 1).unwrap_or(u32::MAX),
            turn_attempt: self.journal.turn_attempt(),
            provenance: Provenance::Live,
            kind: EffectKind::Ask,
            provider: String::new(),
            model: ask.address.clone(),
            begun_at: self.outside.clock.now(),
            duration: Duration::ZERO,
            fuel,
            tokens: TokenUsage::default(),
            cost: NanoUsd(0),
            bill: Bill::Free,
            outcome: EffectOutcome::Begun,
            sent: bytes_of(&ask.content),
            received: 0,
        }
    }
}

fn bytes_of(content: &[Part]) -> u64 {
    content.iter().map(|part| part.len() as u64).sum()
}

fn count(line: &EffectRecord) {
    let outcome = match line.outcome {
        EffectOutcome::Begun => "begun",
        EffectOutcome::Answered => "answered",
        EffectOutcome::Failed(failure) => failure.as_str(),
        EffectOutcome::Unknown => "unknown",
    };
    metrics::counter!("dormouse_asks_total", "outcome" => outcome).increment(1);
    metrics::histogram!("dormouse_ask_seconds").record(line.duration.as_secs_f64());
}
