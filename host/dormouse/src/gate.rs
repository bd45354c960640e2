//! The gate of a turn: the one place through which its guest reaches the outside world.
//!
//! ```text
//!  guest ─▶ import ─▶ World of the turn ─▶ Gate ──▶ journal   noted before, told after: survives the host
//!                                           ├─────▶ purse     reserved before, settled after: never overspent
//!                                           └─────▶ providers, tools   asked once for each line of the ledger
//! ```
//! Invariants: an effect is durable in the journal before its first byte leaves the host, and its answer before the
//! guest sees it. A turn that is run again gets the answers that were noted, and asks nobody for them. Each
//! attempt at an effect is a line of the ledger, also one of which nobody knows what has become of it. Nothing
//! but this knows of journal, ledger and providers at once.

pub(crate) mod asks;
pub(crate) mod calls;
mod exchanges;
pub(crate) mod journal;
pub(crate) mod ledger;
mod places;
pub(crate) mod post;
pub(crate) mod purse;
mod servers;
pub(crate) mod size;
mod tape;
pub(crate) mod time;
mod tools;
mod used;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use crate::faults::InjectedFaults;
use crate::mailboxes::Mailboxes;
use crate::turn::admission::Shortage;
use crate::turn::output::TurnOutput;
use dormouse_domain::ask::PeerAsk;
use dormouse_domain::effect::{Effect, EffectAnswer, EffectError, ModelCall};
use dormouse_domain::id::{SessionId, TurnId};
use dormouse_domain::journal::{EffectRecord, Salt};
use dormouse_domain::limits::NanoUsd;
use dormouse_domain::model::{ModelAnswer, ModelError, ModelTool};
use dormouse_domain::session::Session;
use dormouse_domain::time::Timestamp;
use dormouse_domain::tool::ToolRequest;
use dormouse_domain::turn::{Delta, Part};
use dormouse_sandbox::{EffectReply, NotSent, SoFar};

use dormouse_base::clock::Clock;
use dormouse_base::shares::Callers;
use dormouse_egress::Egress;
use dormouse_mcp::McpServers;
use dormouse_model as model;
use dormouse_tools::Tools;

use asks::AskPeers;
use exchanges::Exchanges;
use journal::{Identity, Reply, Seen, TurnJournal};
use places::ModelPlaces;
use post::{OutgoingMail, Post};
use purse::Purse;
use tape::Tape;
use time::EffectTime;
use used::UsedTools;

/// The most text of answers that one turn forwards to its stream, in bytes. The rest comes with the reply.
const MAX_FORWARDED: usize = 1 << 20;

/// Who answers what turns ask of the outside world. One for each host.
pub(crate) struct Outside {
    pub(crate) clock: Clock,
    /// Who answers for language models.
    pub(crate) models: Arc<model::Catalog>,
    /// The places for calls of each provider.
    pub(crate) places: ModelPlaces,
    /// Who sends HTTP requests.
    pub(crate) egress: Arc<Egress>,
    /// The tools of the host.
    pub(crate) tools: Tools,
    /// The MCP servers of sessions.
    pub(crate) mcp: McpServers,
    /// The runtime that serves connections: that of the guests has other work.
    pub(crate) connections: Handle,
    /// What goes wrong on purpose.
    pub(crate) faults: InjectedFaults,
}

impl Outside {
    /// Who answers on a host that is made on the runtime that serves connections.
    pub(crate) fn new(
        clock: Clock,
        models: Arc<model::Catalog>,
        egress: Arc<Egress>,
        mcp: McpServers,
        faults: InjectedFaults,
    ) -> Outside {
        let (places, connections) = (ModelPlaces::default(), Handle::current());
        let tools = Tools::new(Callers::several());
        Outside { clock, models, places, egress, tools, mcp, connections, faults }
    }
}

/// What one turn may ask of the outside world.
pub(crate) struct Gate {
    outside: Arc<Outside>,
    session: Arc<Session>,
    /// The turn that it is the gate of.
    turn: TurnId,
    peers: Arc<dyn AskPeers>,
    output: TurnOutput,
    tape: Tape,
    journal: TurnJournal,
    post: Post,
    purse: Purse,
    time: EffectTime,
    /// See [`GateParts::taken_up`].
    taken_up: Option<Duration>,
    exchanges: Exchanges,
    /// Tools of servers that may be called again, as the listing says that the guest has had.
    repeatable: BTreeSet<String>,
    /// Members of the session's group that cannot be created.
    absent: BTreeSet<SessionId>,
    /// Text that was forwarded, in bytes.
    forwarded: usize,
    used: UsedTools,
    /// The last call was not made, because there was no money for it.
    shortage: Option<Shortage>,
    /// The turn is not as it was when it was run before. Says where.
    divergence: Option<String>,
}

/// What a turn leaves of its gate.
pub(crate) struct GateEnd {
    pub(crate) journal: TurnJournal,
    /// What the turn sends to other sessions, if it succeeds.
    pub(crate) outbox: Vec<OutgoingMail>,
    pub(crate) purse: Purse,
    /// The last call was not made, because there was no money for it.
    pub(crate) shortage: Option<Shortage>,
    /// The turn is not as it was when it was run before. Says where.
    pub(crate) divergence: Option<String>,
    /// The names of the tools that the turn has used, each once, in the order of their first use.
    pub(crate) tools_used: Vec<String>,
}

/// What a gate is made of.
pub(crate) struct GateParts {
    pub(crate) outside: Arc<Outside>,
    pub(crate) session: Arc<Session>,
    pub(crate) turn: TurnId,
    /// Who asks the agents of other sessions.
    pub(crate) peers: Arc<dyn AskPeers>,
    pub(crate) output: TurnOutput,
    pub(crate) journal: TurnJournal,
    pub(crate) mailboxes: Arc<Mailboxes>,
    pub(crate) purse: Purse,
    pub(crate) time: EffectTime,
    /// When the turn has begun, and what the guest's monotonic clock said then, in nanoseconds.
    pub(crate) started_at: Timestamp,
    pub(crate) monotonic_ns: u64,
    /// Whether its guest can ask for anything.
    pub(crate) has_effects: bool,
    /// When the host's monotonic clock said that the turn, which was cut off, was taken up again. `None`: it was not,
    /// or this is not the first attempt since.
    pub(crate) taken_up: Option<Duration>,
}

impl Gate {
    pub(crate) fn new(parts: GateParts) -> Gate {
        let GateParts { outside, session, output, journal, mailboxes, purse, time, .. } = parts;
        let post = Post::new(mailboxes, session.owner.clone());
        let (clock, faults) = (outside.clock.clone(), outside.faults.clone());
        let GateParts { started_at, monotonic_ns, has_effects, turn, peers, .. } = parts;
        let mut tape = Tape::new(clock, faults, started_at, monotonic_ns, has_effects);
        tape.play(journal.readings());
        Gate {
            outside,
            session,
            turn,
            peers,
            output,
            tape,
            journal,
            post,
            purse,
            time,
            taken_up: parts.taken_up,
            exchanges: Exchanges::default(),
            repeatable: BTreeSet::new(),
            absent: BTreeSet::new(),
            forwarded: 0,
            used: UsedTools::default(),
            shortage: None,
            divergence: None,
        }
    }

    /// What is left of it once the turn is over.
    pub(crate) fn end(self) -> GateEnd {
        let Gate { journal, post, purse, shortage, divergence, used, .. } = self;
        let (outbox, tools_used) = (post.into_outbox(), used.into_names());
        GateEnd { journal, outbox, purse, shortage, divergence, tools_used }
    }

    pub(crate) fn now(&mut self) -> Timestamp {
        self.tape.now()
    }

    pub(crate) fn monotonic_ns(&mut self) -> u64 {
        self.tape.monotonic_ns()
    }

    /// The tools that the guest may use.
    pub(crate) fn tools(&self) -> Vec<ModelTool> {
        self.outside.tools(&self.session)
    }

    /// Whether the session names servers that may have more.
    pub(crate) fn has_tool_servers(&self) -> bool {
        self.outside.has_tool_servers(&self.session)
    }

    pub(crate) fn salt(&self) -> Option<Salt> {
        self.journal.salt()
    }

    /// Send a mail with the end of the turn.
    ///
    /// # Errors
    /// It is not sent.
    pub(crate) async fn send(&mut self, to: SessionId, content: Vec<Part>) -> Result<(), NotSent> {
        if self.session.group.is_some() && self.post.may_try() && !self.absent.contains(&to) {
            // Where it cannot be, it has no mailbox. That is tried once a turn.
            let is_there = self.peers.create_member(Arc::clone(&self.session), to).await;
            self.absent.extend((!is_there).then_some(to));
        }
        self.post.send(to, content, self.journal.posted())
    }

    /// Answer an effect: from the journal, or by asking the outside world.
    ///
    /// # Errors
    /// The guest gets no answer, and its call ends.
    pub(crate) async fn effect(
        &mut self,
        effect: Effect,
        so_far: SoFar,
    ) -> Result<EffectReply, EffectError> {
        let _in_effect = self.time.effect();
        let (readings, as_before) = (self.tape.take(), self.tape.is_as_before());
        let seen = Seen { readings, reads_as_before: as_before, posted: self.post.take_posted() };
        let answered = match &effect {
            Effect::Model(call) => self.model(call, &effect, so_far, seen).await,
            Effect::Tool(request) => self.tool(request, &effect, so_far, seen).await,
            Effect::ListTools => self.list_tools(&effect, so_far, seen).await,
            Effect::Ask(ask) => self.ask(ask, &effect, so_far, seen).await,
            Effect::Http(wait) => {
                self.wait(wait, &effect, so_far, seen).await.map(EffectAnswer::Http)
            }
        };
        let answer = answered.inspect_err(|error| self.note_divergence(error))?;
        self.used.note(&effect, &answer);
        self.tape.play(self.journal.readings());
        Ok(EffectReply { answer, fuel_left: self.purse.fuel_left(so_far.fuel) })
    }

    async fn model(
        &mut self,
        call: &ModelCall,
        effect: &Effect,
        so_far: SoFar,
        seen: Seen,
    ) -> Result<EffectAnswer, EffectError> {
        match self.journal.next(effect.into(), so_far, seen).await? {
            Reply::Replayed(answer, cost) => {
                self.purse.pay(cost);
                self.replay(call, &answer, so_far.fuel);
                Ok(answer)
            }
            Reply::Live => {
                let answer = self.ask_model(call).await?;
                self.journal.answer(EffectAnswer::Model(answer)).await
            }
        }
    }

    async fn tool(
        &mut self,
        request: &ToolRequest,
        effect: &Effect,
        so_far: SoFar,
        seen: Seen,
    ) -> Result<EffectAnswer, EffectError> {
        let class = self.class_of(request);
        let identity = Identity::from(effect).with_class(class);
        match self.journal.next(identity, so_far, seen).await? {
            Reply::Replayed(answer, cost) => {
                self.purse.pay(cost);
                Ok(answer)
            }
            Reply::Live => {
                let answer = self.call_tool(request, class).await?;
                self.journal.answer(EffectAnswer::Tool(answer)).await
            }
        }
    }

    async fn ask(
        &mut self,
        ask: &PeerAsk,
        effect: &Effect,
        so_far: SoFar,
        seen: Seen,
    ) -> Result<EffectAnswer, EffectError> {
        match self.journal.next(effect.into(), so_far, seen).await? {
            Reply::Replayed(answer, _) => Ok(answer),
            Reply::Live => {
                let answer = self.ask_peer(ask).await?;
                self.journal.answer(EffectAnswer::Ask(answer)).await
            }
        }
    }

    async fn list_tools(
        &mut self,
        effect: &Effect,
        so_far: SoFar,
        seen: Seen,
    ) -> Result<EffectAnswer, EffectError> {
        let answer = match self.journal.next(effect.into(), so_far, seen).await? {
            Reply::Replayed(answer, _) => answer,
            Reply::Live => {
                let listing = self.ask_servers_for_tools().await?;
                self.journal.answer(EffectAnswer::ToolList(listing)).await?
            }
        };
        if let EffectAnswer::ToolList(listing) = &answer {
            self.note_listing(listing);
        }
        Ok(answer)
    }

    /// The text of an answer that was had before is streamed again: whoever reads a turn that is run again reads it
    /// from its beginning. The guest has used so much fuel.
    fn replay(&mut self, call: &ModelCall, answer: &EffectAnswer, fuel: u64) {
        let EffectAnswer::Model(answer) = answer else { return };
        match answer {
            Ok(answer) if call.forward => self.forward(&answer.text()),
            Err(ModelError::Interrupted { partial }) if call.forward => self.forward(partial),
            Ok(_) | Err(_) => {}
        }
        self.shortage = match answer {
            Err(ModelError::BudgetExceeded(_)) => Some(self.shortage_of(call, fuel)),
            Ok(_) | Err(_) => None,
        };
    }

    fn note_divergence(&mut self, error: &EffectError) {
        if let EffectError::Diverged(what) = error {
            tracing::error!(session = %self.session.id, what, "a turn that is run again diverges");
            metrics::counter!("dormouse_replays_diverged_total").increment(1);
            self.divergence = Some(what.clone());
        }
    }

    /// A call leaves: the first of a turn that was cut off ends what it takes to take the turn up again.
    fn note_live(&mut self) {
        if let Some(since) = self.taken_up.take() {
            let took = self.outside.clock.monotonic().saturating_sub(since);
            metrics::histogram!("dormouse_replay_seconds").record(took.as_secs_f64());
        }
    }

    /// Stream a piece of an answer, as far as a turn may.
    fn forward(&mut self, text: &str) {
        push(&self.output, &mut self.forwarded, text);
    }
}

fn push(output: &TurnOutput, forwarded: &mut usize, text: &str) {
    if text.is_empty() || *forwarded + text.len() > MAX_FORWARDED {
        *forwarded = forwarded.saturating_add(text.len());
        return;
    }
    *forwarded += text.len();
    output.push(Delta::Text(text.to_owned()));
}

/// The result of asking a model.
pub(crate) type Asked = Result<ModelAnswer, ModelError>;

/// The sum of what these lines cost.
pub(crate) fn cost_of(lines: &[EffectRecord]) -> NanoUsd {
    lines.iter().fold(NanoUsd(0), |sum, line| sum + line.cost)
}
