//! What all attempts at effects have in common, whoever is asked: each is a line of the ledger, noted before it leaves and
//! once it is over, and the time that it takes is not the turn's.

use std::time::Duration;

use super::time::InCall;
use super::{Gate, cost_of};
use dormouse_base::clock::Clock;
use dormouse_domain::effect::EffectError;
use dormouse_domain::journal::{
    Bill, EffectFailure, EffectOutcome, EffectRecord, EffectTarget, Provenance,
};
use dormouse_domain::limits::NanoUsd;
use dormouse_domain::tool::{HostTool, SERVER_TOOLS};

/// An attempt that is under way.
pub(super) struct InAttempt {
    clock: Clock,
    since: Duration,
    _in_call: InCall,
}

impl InAttempt {
    /// It is over. Says how long it took.
    pub(super) fn end(self) -> Duration {
        self.clock.monotonic().saturating_sub(self.since)
    }
}

impl Gate {
    /// The line of an attempt that is about to be made, which sends so many bytes.
    pub(super) fn line(&self, target: EffectTarget, sent: u64) -> EffectRecord {
        let (seq, _) = self.journal.place();
        self.line_of(seq, self.journal.calls().len(), target, sent)
    }

    /// The line of an attempt at the effect of this place, for which so many were made before.
    pub(super) fn line_of(
        &self,
        seq: u32,
        made: usize,
        target: EffectTarget,
        sent: u64,
    ) -> EffectRecord {
        let fuel = self.journal.place().1;
        let turn_attempt = self.journal.turn_attempt();
        let line = new_line(target, made, &self.outside.clock, sent);
        EffectRecord { seq, turn_attempt, fuel, ..line }
    }

    /// Note that an attempt leaves: returns once that is durable.
    ///
    /// # Errors
    /// It cannot be noted.
    pub(super) async fn begin_attempt(
        &mut self,
        line: &EffectRecord,
    ) -> Result<InAttempt, EffectError> {
        self.journal.begin_call(line.clone()).await?;
        self.note_live();
        let clock = self.outside.clock.clone();
        let (since, in_call) = (clock.monotonic(), self.time.call(&clock));
        Ok(InAttempt { clock, since, _in_call: in_call })
    }

    /// An attempt is over, as this line says. It is noted with what follows.
    pub(super) fn end_attempt(&mut self, line: EffectRecord) {
        count(&line);
        self.journal.end_call(line);
    }

    /// Nobody is asked, and this is why.
    pub(super) fn refuse_effect(&mut self, target: EffectTarget, why: EffectFailure) {
        let mut line = self.line(target, 0);
        line.outcome = EffectOutcome::Failed(why);
        count(&line);
        self.journal.refuse_call(line);
    }

    /// Attempts that the end of a host has cut off have cost what was reserved for them.
    pub(super) fn pay_for_what_was_lost(&mut self) {
        let lost = cost_of(self.journal.calls());
        self.purse.pay(lost);
    }
}

/// The line of an attempt that is about to be made, behind so many, which sends so many bytes.
pub(crate) fn new_line(
    target: EffectTarget,
    made: usize,
    clock: &Clock,
    sent: u64,
) -> EffectRecord {
    EffectRecord {
        seq: 0,
        attempt: u32::try_from(made + 1).unwrap_or(u32::MAX),
        turn_attempt: 0,
        provenance: Provenance::Live,
        target,
        begun_at: clock.now(),
        duration: Duration::ZERO,
        fuel: 0,
        cost: NanoUsd(0),
        bill: Bill::Free,
        outcome: EffectOutcome::Begun,
        sent,
        received: 0,
    }
}

/// Count an attempt that is over.
pub(crate) fn count(line: &EffectRecord) {
    let outcome = match line.outcome {
        EffectOutcome::Begun => "begun",
        EffectOutcome::Answered => "answered",
        EffectOutcome::Failed(failure) => failure.as_str(),
        EffectOutcome::Unknown => "unknown",
    };
    let seconds = line.duration.as_secs_f64();
    match &line.target {
        EffectTarget::Model { provider, .. } => {
            let provider = provider.clone();
            let labels = [("provider", provider), ("outcome", outcome.to_owned())];
            metrics::counter!("dormouse_model_calls_total", &labels).increment(1);
            metrics::histogram!("dormouse_model_seconds").record(seconds);
            count_tokens(line);
        }
        EffectTarget::Tool { name, .. } => {
            // An agent may ask for any name: only those that there are have a series.
            let unnamed = if name.starts_with(SERVER_TOOLS) { "mcp" } else { "unknown" };
            let tool = HostTool::named(name).map_or(unnamed, HostTool::as_str);
            metrics::counter!("dormouse_tool_calls_total", "tool" => tool, "outcome" => outcome)
                .increment(1);
            metrics::histogram!("dormouse_tool_seconds").record(seconds);
        }
        EffectTarget::Ask { .. } => {
            metrics::counter!("dormouse_asks_total", "outcome" => outcome).increment(1);
            metrics::histogram!("dormouse_ask_seconds").record(seconds);
        }
        // Whoever sends it counts it.
        EffectTarget::Http { .. } => {}
    }
}

fn count_tokens(line: &EffectRecord) {
    let tokens = line.tokens();
    let kinds = [
        ("input", tokens.input),
        ("output", tokens.output),
        ("cache_read", tokens.cache_read),
        ("cache_write", tokens.cache_write.saturating_add(tokens.cache_write_long)),
    ];
    for (kind, tokens) in kinds.into_iter().filter(|(_, tokens)| *tokens > 0) {
        metrics::counter!("dormouse_model_tokens_total", "kind" => kind).increment(tokens);
    }
}
