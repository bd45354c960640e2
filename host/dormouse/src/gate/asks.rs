//! Questions to the agents of other sessions: each is noted before it leaves, and its answer before it is told.
//!
//! A question can be asked again: it has the same key, and the session that is asked answers it once. A *task* is a
//! question to a session of the same group, as a model hands it over.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::Gate;
use dormouse_domain::ask::{AskError, MAX_ASK_BYTES, MAX_ASK_TIMEOUT, PeerAsk};
use dormouse_domain::effect::EffectError;
use dormouse_domain::group::Group;
use dormouse_domain::id::{SessionId, TurnId};
use dormouse_domain::journal::{EffectOutcome, EffectTarget};
use dormouse_domain::session::Session;
use dormouse_domain::tool::{ToolAnswer, ToolError};
use dormouse_domain::turn::Part;
use dormouse_tools::Task;

/// A question, and who asks it.
pub(crate) struct Question {
    /// The session that asks.
    pub(crate) asker: Arc<Session>,
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

    /// See to it that this peer of a session is there: a member of its group is created at its first use. Answers with
    /// whether it is.
    fn create_member(
        &self,
        of: Arc<Session>,
        member: SessionId,
    ) -> Pin<Box<dyn Future<Output = bool> + Send>>;
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
        let answered = self.put(line.seq, to, ask.content.clone(), ask.timeout).await;
        line.duration = attempt.end();
        (line.outcome, line.received) = match &answered {
            Ok(content) => (EffectOutcome::Answered, bytes_of(content)),
            Err(error) => (EffectOutcome::Failed(error.failure()), 0),
        };
        self.end_attempt(line);
        Ok(answered)
    }

    /// Put the question of this place to a session. What that spends meanwhile may be of the same accounts.
    async fn put(
        &self,
        seq: u32,
        to: SessionId,
        content: Vec<Part>,
        timeout: Duration,
    ) -> PeerAnswer {
        let (asker, turn) = (Arc::clone(&self.session), self.turn);
        let (_, fuel_used) = self.journal.place();
        self.purse.lend(fuel_used);
        let answer = self.peers.ask(Question { asker, turn, seq, to, content, timeout }).await;
        self.purse.take_back();
        answer
    }

    /// The task that these arguments are, if somebody can do it.
    pub(super) fn check_task(&self, arguments: &str) -> Result<Task, ToolError> {
        let task = Task::parse(arguments)?;
        if task.prompt.len() as u64 > MAX_ASK_BYTES {
            return Err(ToolError::Invalid(format!(
                "the prompt has more than {MAX_ASK_BYTES} bytes"
            )));
        }
        match self.other(&task.agent) {
            Some(_) => Ok(task),
            None => {
                let others = self.session.group.as_ref().map(Group::others).unwrap_or_default();
                let others: Vec<&str> = others.keys().map(String::as_str).collect();
                let why =
                    format!("there is no agent `{}`; there are: {}", task.agent, others.join(", "));
                Err(ToolError::Invalid(why))
            }
        }
    }

    /// Hand a task to another session of the group, as the effect of this place.
    pub(super) async fn hand_over(&self, task: Task, seq: u32) -> Result<ToolAnswer, ToolError> {
        let Some(to) = self.other(&task.agent) else { return Err(ToolError::Unknown(task.agent)) };
        let content = vec![Part::Text(task.prompt)];
        let failed = |why: String| ToolAnswer { content: vec![Part::Text(why)], is_error: true };
        match self.put(seq, to, content, MAX_ASK_TIMEOUT).await {
            Ok(content) => Ok(ToolAnswer { content, is_error: false }),
            Err(AskError::TimedOut) => {
                let why =
                    format!("`{}` did not answer in {} s", task.agent, MAX_ASK_TIMEOUT.as_secs());
                Err(ToolError::TimedOut(why))
            }
            Err(error) => Ok(failed(format!("`{}` has not done it: {error}", task.agent))),
        }
    }

    /// The session of the group that is called so.
    fn other(&self, name: &str) -> Option<SessionId> {
        self.session.group.as_ref()?.others().get(name).copied()
    }
}

fn bytes_of(content: &[Part]) -> u64 {
    content.iter().map(|part| part.len() as u64).sum()
}
