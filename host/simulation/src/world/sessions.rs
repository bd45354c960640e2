//! Members that are sessions: each is an agent in an instance of its own, and has a turn in each tick in which it acts.
//!
//! Invariants: what comes of a turn depends on the state of its member, on what the tick hands it, and on the answers of models
//! alone; never on which turns run beside it, nor on which members are in memory. What members do is put together in the order
//! of their numbers, after all of them are done.

mod member;
mod surroundings;

use std::collections::VecDeque;
use std::sync::Arc;

use borsh::{BorshDeserialize, BorshSerialize};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use serde_json::Value;
use tokio::runtime::Handle;
use tokio_util::task::AbortOnDropHandle;

use super::WorldError;
use super::letters::{Letter, LetterPart};
use super::make::{InstancePlace, Places};
use super::memory::SharedAccount;
use crate::chance::Chance;
use crate::fingerprint::{Fingerprint, Link};
use crate::recording::{Answers, RecordedCall, form};
use crate::router::Inbox;
use crate::spec::MembersSpec;
use crate::view::Seen;
use dormouse_base::memory::MemoryBudget;
use dormouse_domain::session::JsonObject;
use dormouse_domain::simulation::{Column, ColumnSlice, EffectKind, Member, Named, Role, Tick};
use dormouse_domain::snapshot::GuestState;
use dormouse_domain::time::Timestamp;
use dormouse_domain::turn::Part;
use dormouse_sandbox::{Code, Fault};

pub(super) use member::SessionMember;

/// The most turns that run at a time, of one role: those that wait for a model are among them.
const MAX_AT_ONCE: usize = 256;
/// The most members that are asked something at a time, of which nothing is left.
const SURVEYED_AT_ONCE: usize = 32;
/// The fuel that a member may use in a tick, where its specification does not say.
const FUEL_PER_TURN: u64 = 10_000_000_000;

/// The members of one role.
pub(super) struct Sessions {
    /// By number. `None` while its turn runs.
    members: Vec<Option<SessionMember>>,
    /// What they publish, by the place of the column and the number of the member.
    columns: Vec<Vec<f64>>,
    /// How many are in memory at a time, at most.
    resident: usize,
    fuel_per_turn: u64,
    base: Arc<BaseConfig>,
}

/// What members are configured with from their beginning.
pub(super) struct BaseConfig {
    all: JsonObject,
    each: Vec<JsonObject>,
    attributes: Vec<Named>,
}

/// What all members of a role begin a tick with.
pub(super) struct SessionTick {
    pub(super) role: Role,
    pub(super) at: Tick,
    pub(super) now: Timestamp,
    /// What the monotonic clock of members says, in nanoseconds.
    pub(super) monotonic_ns: u64,
    pub(super) chance: Chance,
    /// All roles of the world.
    pub(super) roles: Arc<Vec<ToldRole>>,
    /// The name of their agent.
    pub(super) agent: String,
    pub(super) code: Arc<Code>,
    pub(super) seen: Arc<Seen>,
    /// What members of other roles have done to them.
    pub(super) arrivals: Arc<Vec<Vec<Inbox>>>,
    /// What arrives with all members of the world, sorted.
    pub(super) letters: Arc<Vec<Letter>>,
    pub(super) answers: Arc<Answers>,
    pub(super) memory: Arc<SharedAccount>,
    pub(super) budget: MemoryBudget,
    pub(super) max_memory_bytes: u64,
    /// The names under which they publish.
    pub(super) names: Vec<String>,
    /// What each is configured with from its beginning.
    pub(super) base: Arc<BaseConfig>,
    /// What one turn may use.
    pub(super) fuel: u64,
}

/// What members know of a role.
pub(super) struct ToldRole {
    pub(super) name: String,
    /// How many members it has or had.
    pub(super) size: u32,
    pub(super) are_sessions: bool,
    /// Where its members are sessions, of whom somebody has ended: who.
    pub(super) ended: Option<Vec<bool>>,
    /// What its members can do to others.
    pub(super) kinds: Vec<EffectKind>,
}

/// What has come of one turn.
pub(super) struct SessionTurn {
    pub(super) member: Member,
    pub(super) letters: Vec<Letter>,
    pub(super) calls: Vec<RecordedCall>,
    /// What it has sampled last, by the place of the column.
    pub(super) published: Vec<(usize, f64)>,
    /// Whether it has ended.
    pub(super) is_complete: bool,
    /// The hash of what others can notice of it.
    pub(super) hash: Fingerprint,
    pub(super) fuel: u64,
}

/// What has come of the turns of a role in a tick: in the order of their members, unless they have used more fuel than is left.
pub(super) struct Stepped {
    pub(super) turns: Vec<SessionTurn>,
}

/// A member that could not answer.
pub(super) struct MemberFault {
    pub(super) member: Member,
    pub(super) fault: Fault,
}

/// A member as a keyframe has it.
#[derive(BorshSerialize, BorshDeserialize)]
pub(super) struct SessionFrame {
    turns: u64,
    /// Where it is not as the specification says.
    config: Option<String>,
    checkpoint: Option<String>,
    timers: Vec<TimerFrame>,
    tokens: [u64; 3],
    /// What it publishes.
    values: Vec<f64>,
    /// `None`: it has answered no turn yet, or nothing of it is kept.
    state: Option<GuestState>,
}

#[derive(BorshSerialize, BorshDeserialize)]
struct TimerFrame {
    name: String,
    due: i64,
    schedule: Option<String>,
    message: String,
    set_in: u64,
}

impl Sessions {
    /// The members that a role begins with, of which each has these attributes, and of which so many are in memory at most.
    pub(super) fn new(
        role: Role,
        spec: &MembersSpec,
        attributes: Vec<Named>,
        resident: u32,
        chance: &Chance,
    ) -> Sessions {
        let member = |number| Some(SessionMember::new(number, chance.id_of(role, number)));
        let members = (0..spec.count).map(member);
        let first = |name: &String| {
            let own = attributes.iter().find(|own| own.name == *name);
            let value =
                |place: u32| own.map_or(0.0, |own| own.values.as_slice().number(place as usize));
            (0..spec.count).map(value).collect()
        };
        Sessions {
            members: members.collect(),
            columns: spec.columns.iter().map(first).collect(),
            resident: spec.resident.unwrap_or(resident).min(resident).max(1) as usize,
            fuel_per_turn: spec.fuel_per_turn.unwrap_or(FUEL_PER_TURN),
            base: Arc::new(BaseConfig {
                all: spec.config.clone(),
                each: spec.each.clone(),
                attributes,
            }),
        }
    }

    /// What each is configured with from its beginning.
    pub(super) fn base(&self) -> Arc<BaseConfig> {
        self.base.clone()
    }

    /// The fuel that each may use in a tick.
    pub(super) fn fuel_per_turn(&self) -> u64 {
        self.fuel_per_turn
    }

    /// How many are in memory.
    pub(super) fn instances(&self) -> usize {
        self.present().filter(|member| member.is_resident()).count()
    }

    fn present(&self) -> impl Iterator<Item = &SessionMember> {
        self.members.iter().flatten()
    }

    /// What they publish under the name that has this place.
    pub(super) fn column(&self, place: usize) -> Column {
        Column::Numbers(self.columns.get(place).cloned().unwrap_or_default())
    }

    /// Who has a timer that is due by now.
    pub(super) fn due(&self, now: Timestamp) -> impl Iterator<Item = Member> {
        let is_due = move |member: &&SessionMember| member.is_due(now);
        self.present().filter(is_due).map(|member| member.number)
    }

    /// What they take in memory beside their instances, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        let columns = self.columns.iter().map(|values| size_of_val(values.as_slice()) as u64);
        self.present().map(SessionMember::bytes).sum::<u64>() + columns.sum::<u64>()
    }

    /// From the next tick on these members have these values in their configuration.
    pub(super) fn configure(&mut self, members: Option<&[Member]>, config: &JsonObject) {
        let all: Vec<Member> = match members {
            Some(members) => members.to_vec(),
            None => (0..).take(self.members.len()).collect(),
        };
        let mut shared = None;
        for member in all {
            if let Some(Some(member)) = self.members.get_mut(member as usize) {
                member.configure(config, &mut shared);
            }
        }
    }

    /// Let these members have a turn, as many at a time as there is room for.
    ///
    /// # Errors
    /// One of them could not answer. Those that had begun have come to their ends, and the world is of no use; so it is where they
    /// have used more fuel than is left.
    pub(super) async fn step(
        &mut self,
        acting: Vec<Member>,
        tick: &Arc<SessionTick>,
        fuel_left: u64,
        runtime: &Handle,
        places: &Places,
    ) -> Result<Result<Stepped, MemberFault>, WorldError> {
        let is_resident =
            |member: &Member| self.of(*member).is_some_and(SessionMember::is_resident);
        // Those that are in memory first: their places are free for others then. In which order turns run means nothing.
        let (now, later): (Vec<_>, Vec<_>) = acting.into_iter().partition(is_resident);
        let acts = |member: &Member| now.binary_search(member).is_ok();
        let mut idle: VecDeque<Member> = self
            .present()
            .filter(|member| member.is_resident() && !acts(&member.number))
            .map(|member| member.number)
            .collect();
        let mut resident = idle.len() + now.len();
        let mut waiting = now.into_iter().chain(later).peekable();
        let mut running = FuturesUnordered::new();
        let (mut turns, mut failed): (Vec<SessionTurn>, Option<MemberFault>) = (Vec::new(), None);
        let mut stopped = None;
        let mut fuel = 0_u64;
        loop {
            while failed.is_none()
                && stopped.is_none()
                && fuel <= fuel_left
                && running.len() < self.resident.min(MAX_AT_ONCE)
                && let Some(next) = waiting.peek().copied()
            {
                if !self.of(next).is_some_and(SessionMember::is_resident) {
                    match self.make_room(&mut idle, &mut resident, tick, places).await {
                        Ok(Some(place)) => {
                            if let Some(Some(member)) = self.members.get_mut(next as usize) {
                                member.take_place(place);
                            }
                        }
                        // Those that run leave some.
                        Ok(None) => break,
                        Err(error) => {
                            stopped = Some(error);
                            break;
                        }
                    }
                }
                waiting.next();
                let Some(member) = self.members.get_mut(next as usize).and_then(Option::take)
                else {
                    continue;
                };
                let tick = tick.clone();
                running.push(AbortOnDropHandle::new(
                    runtime.spawn(async move { member.take_turn(&tick).await }),
                ));
            }
            let Some(done) = running.next().await else { break };
            let (member, outcome) = done.map_err(|error| WorldError::Host(error.to_string()))?;
            let number = member.number;
            if member.is_resident() {
                idle.push_back(number);
            } else {
                resident -= 1;
            }
            self.members[number as usize] = Some(member);
            match outcome {
                Ok(turn) => {
                    fuel = fuel.saturating_add(turn.fuel);
                    turns.push(turn);
                }
                Err(fault) if failed.as_ref().is_none_or(|failed| number < failed.member) => {
                    failed = Some(MemberFault { member: number, fault });
                }
                Err(_) => {}
            }
        }
        if let Some(failed) = failed {
            return Ok(Err(failed));
        }
        if let Some(stopped) = stopped {
            return Err(stopped);
        }
        if fuel > fuel_left {
            return Ok(Ok(Stepped { turns }));
        }
        if waiting.peek().is_some() {
            let problem =
                "its members in memory hold something open, and there is no place for others";
            return Err(WorldError::Host(problem.to_owned()));
        }
        turns.sort_unstable_by_key(|turn| turn.member);
        for turn in &turns {
            for (place, value) in &turn.published {
                self.columns[*place][turn.member as usize] = *value;
            }
        }
        Ok(Ok(Stepped { turns }))
    }

    fn of(&self, member: Member) -> Option<&SessionMember> {
        self.members.get(member as usize).and_then(Option::as_ref)
    }

    /// A place for one more instance: a free one, or that of a member that does nothing now. `None`: all are at work.
    async fn make_room(
        &mut self,
        idle: &mut VecDeque<Member>,
        resident: &mut usize,
        tick: &SessionTick,
        places: &Places,
    ) -> Result<Option<InstancePlace>, WorldError> {
        if *resident < self.resident {
            match places.take_one() {
                Ok(place) => {
                    *resident += 1;
                    return Ok(Some(place));
                }
                // As few as there are places for are in memory.
                Err(_) if *resident > 0 => {}
                Err(error) => return Err(error),
            }
        }
        for _ in 0..idle.len() {
            let Some(leaves) = idle.pop_front() else { break };
            let Some(Some(member)) = self.members.get_mut(leaves as usize) else { continue };
            let fault = |fault| WorldError::MemberFailed {
                at: tick.at,
                role: tick.roles[tick.role as usize].name.clone(),
                member: leaves,
                fault,
            };
            if let Some(place) = member.leave(&tick.memory).await.map_err(fault)? {
                return Ok(Some(place));
            }
            // It holds something open, and may not later.
            idle.push_back(leaves);
        }
        Ok(None)
    }

    /// Ask these members something of which nothing is left, some at a time. What each replies, in their order.
    ///
    /// # Errors
    /// There is no place for an instance.
    pub(super) async fn survey(
        &mut self,
        members: &[Member],
        question: &[Part],
        tick: &Arc<SessionTick>,
        runtime: &Handle,
        places: &Places,
    ) -> Result<Vec<Result<Vec<Part>, Fault>>, WorldError> {
        let mut replies = Vec::with_capacity(members.len());
        for some in members.chunks(SURVEYED_AT_ONCE) {
            let mut asked = Vec::with_capacity(some.len());
            for member in some {
                let place = self.place_beside(tick, places).await?;
                let own = self.members.get_mut(*member as usize).and_then(Option::as_mut);
                let interview = match own {
                    Some(own) => own.interview(question.to_vec(), tick).await,
                    None => Err(Fault::Host(format!("member {member} is at work"))),
                };
                asked.push(AbortOnDropHandle::new(runtime.spawn(async move {
                    let _place = place;
                    interview?.replied().await
                })));
            }
            for reply in asked {
                replies.push(reply.await.map_err(|error| WorldError::Host(error.to_string()))?);
            }
        }
        Ok(replies)
    }

    /// A place for an instance that is no member: a free one, or that of a member that leaves it.
    async fn place_beside(
        &mut self,
        tick: &SessionTick,
        places: &Places,
    ) -> Result<InstancePlace, WorldError> {
        let error = match places.take_one() {
            Ok(place) => return Ok(place),
            Err(error) => error,
        };
        self.leave_one(&tick.memory)
            .await
            .map_err(|MemberFault { member, fault }| {
                let role = tick.roles[tick.role as usize].name.clone();
                WorldError::MemberFailed { at: tick.at, role, member, fault }
            })?
            .ok_or(error)
    }

    /// Let a member that is in memory leave its place to others. `None`: none can.
    ///
    /// # Errors
    /// Its state could not be saved.
    pub(super) async fn leave_one(
        &mut self,
        memory: &SharedAccount,
    ) -> Result<Option<InstancePlace>, MemberFault> {
        for member in self.members.iter_mut().flatten().filter(|member| member.is_resident()) {
            let number = member.number;
            let left = member.leave(memory).await;
            if let Some(place) = left.map_err(|fault| MemberFault { member: number, fault })? {
                return Ok(Some(place));
            }
        }
        Ok(None)
    }

    /// All of them, as they are now. `None`: one holds something open, so that its state cannot be saved now.
    ///
    /// # Errors
    /// A member failed at it: the world is of no use then.
    pub(super) async fn frames(
        &mut self,
        memory: &SharedAccount,
    ) -> Result<Option<Vec<SessionFrame>>, MemberFault> {
        let mut frames = Vec::with_capacity(self.members.len());
        for number in 0..self.members.len() {
            let values = self.columns.iter().map(|values| values[number]).collect();
            let Some(Some(member)) = self.members.get_mut(number) else { continue };
            let frame = member.frame(values, memory).await;
            let failed = |fault| MemberFault { member: number as Member, fault };
            match frame.map_err(failed)? {
                Some(frame) => frames.push(frame),
                None => return Ok(None),
            }
        }
        Ok(Some(frames))
    }

    /// They are as in a keyframe.
    ///
    /// # Errors
    /// It is no keyframe of this role.
    pub(super) fn restore(&mut self, frames: Vec<SessionFrame>) -> Result<(), String> {
        if frames.len() != self.members.len() {
            return Err(format!("{} members are kept of {}", frames.len(), self.members.len()));
        }
        for (number, frame) in frames.into_iter().enumerate() {
            if frame.values.len() != self.columns.len() {
                return Err("a member publishes something else".to_owned());
            }
            for (column, value) in self.columns.iter_mut().zip(&frame.values) {
                column[number] = *value;
            }
            if let Some(Some(member)) = self.members.get_mut(number) {
                member.restore(frame)?;
            }
        }
        Ok(())
    }
}

impl SessionFrame {
    /// What it takes, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let state = self.state.as_ref().map_or(0, GuestState::size);
        let timers = self.timers.iter().map(|timer| timer.name.len() + timer.message.len());
        (state + text(&self.config) + text(&self.checkpoint) + timers.sum::<usize>() + 256) as u64
    }
}

/// The hash of what others can notice of a turn.
fn hash_of(
    calls: &[RecordedCall],
    letters: &[Letter],
    reply: &[Part],
    is_complete: bool,
) -> Fingerprint {
    let mut link = Link::of("dormouse simulation 2026: a turn");
    for call in calls {
        link.section("call", u64::from(call.place.number));
        link.bytes(&call.request);
        link.bytes(&form::canonical(&call.answer));
    }
    letters.iter().for_each(|letter| letter.hash(&mut link));
    reply.iter().cloned().map(LetterPart::from).for_each(|part| part.hash(&mut link));
    link.section("complete", u64::from(is_complete));
    link.finish()
}

/// A value of a column. It is no NaN: attributes were checked.
fn json_of(values: ColumnSlice<'_>, place: usize) -> Value {
    match values {
        ColumnSlice::Integers(values) => values[place].into(),
        ColumnSlice::Numbers(values) => values[place].into(),
        ColumnSlice::Bytes(values) => values[place].into(),
    }
}

impl BaseConfig {
    /// What a member is configured with: what all are, its attributes, what it alone is, and what was changed since.
    fn of(&self, member: Member, changed: Option<&JsonObject>) -> JsonObject {
        let mut config = self.all.clone();
        for own in &self.attributes {
            config.insert(own.name.clone(), json_of(own.values.as_slice(), member as usize));
        }
        if !self.each.is_empty() {
            config.extend(self.each[member as usize % self.each.len()].clone());
        }
        config.extend(changed.cloned().unwrap_or_default());
        config
    }
}
