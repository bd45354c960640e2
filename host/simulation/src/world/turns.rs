//! The turns of members that are sessions: in a tick, and in an interview, of which nothing is left.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::letters::{self, Letter, LetterPart};
use super::sessions::{MemberFault, SessionTick, SessionTurn, Sessions, ToldRole};
use super::shard::TickInput;
use super::{RoleOfWorld, World, WorldError, wrong};
use crate::recording::Answers;
use crate::spec::Announcement;
use dormouse_domain::effect::EffectError;
use dormouse_domain::simulation::{Column, Member, Role};
use dormouse_domain::turn::Part;
use dormouse_sandbox::Fault;

impl World {
    /// Members that are sessions have a mail from the world.
    pub(super) fn announce(&mut self, mail: &Announcement) -> Result<(), WorldError> {
        let place = self.place_of(&mail.role)?;
        let (role, own) = (place as Role, &self.roles[place]);
        if own.sessions.is_none() {
            let problem = "members that are rows have no mail; set a parameter instead".to_owned();
            return Err(wrong(own, self.at, problem));
        }
        let is_there =
            |member: &Member| own.ended.as_ref().is_none_or(|ended| !ended[*member as usize]);
        let all: Vec<Member> = match &mail.members {
            Some(members) => members.clone(),
            None => (0..own.size).collect(),
        };
        let bytes = (all.len() * (mail.text.len() + size_of::<Letter>())) as u64;
        self.memory.charge(bytes).map_err(|needed| WorldError::OutOfMemory { needed })?;
        let letter = |member| Letter {
            from: None,
            to: (role, member),
            content: vec![LetterPart::Text(mail.text.clone())],
        };
        let letters: Vec<Letter> = all.into_iter().filter(is_there).map(letter).collect();
        self.chain.extend(self.at, |link| letters.iter().for_each(|letter| letter.hash(link)));
        // What the world says comes before what members say.
        self.letters.splice(0..0, letters);
        letters::sort(&mut self.letters);
        Ok(())
    }

    /// Ask members that are sessions something, as somebody who is no member, and answer with what each replies, or why it does not.
    /// Nothing of that is left in the world: they are asked as they would be in a world that is given up afterwards. Models answer
    /// live, from `answers`.
    ///
    /// # Errors
    /// [`WorldError::Invalid`]: there is no such member, or it has ended, or is a row.
    pub async fn survey(
        &mut self,
        role: &str,
        members: &[Member],
        question: &[Part],
        answers: Answers,
    ) -> Result<Vec<Result<Vec<Part>, Fault>>, WorldError> {
        let invalid =
            |field: &str, problem: String| WorldError::Invalid { field: field.to_owned(), problem };
        let place = self.place_of(role)?;
        let own = &self.roles[place];
        for member in members {
            let ended = own.ended.as_ref();
            if *member >= own.size || ended.is_some_and(|ended| ended[*member as usize]) {
                let problem = format!("the role `{role}` has no member {member}, or no longer");
                return Err(invalid("members", problem));
            }
        }
        let Some(mut sessions) = self.roles[place].sessions.take() else {
            let problem = format!("members of the role `{role}` are rows, which answer nobody");
            return Err(invalid("role", problem));
        };
        let (roles, fuel) = (self.told_roles(), sessions.fuel_per_turn());
        let answers = Arc::new(answers);
        let moment = self.moment(place, &sessions, &roles, fuel);
        let tick = Arc::new(SessionTick { answers, ..moment });
        let asked = sessions.survey(members, question, &tick, &self.runtime, &self.places).await;
        self.roles[place].sessions = Some(sessions);
        asked
    }

    /// What members of a role know of all roles.
    fn told_roles(&self) -> Arc<Vec<ToldRole>> {
        let told = |role: &RoleOfWorld| ToldRole {
            name: role.name.clone(),
            size: role.size,
            are_sessions: !role.code.is_population(),
            ended: role.ended.clone().filter(|_| !role.code.is_population()),
            kinds: role.description.effects.clone(),
        };
        Arc::new(self.roles.iter().map(told).collect())
    }

    /// What members of a role begin the tick with that comes next, but for their mail.
    fn moment(
        &self,
        place: usize,
        sessions: &Sessions,
        roles: &Arc<Vec<ToldRole>>,
        fuel: u64,
    ) -> SessionTick {
        let (at, own) = (self.at, &self.roles[place]);
        let tick_ns = self.spec.clock.tick_ms.saturating_mul(1_000_000);
        SessionTick {
            role: place as Role,
            at,
            now: self.spec.clock.at(at),
            monotonic_ns: at.saturating_add(1).saturating_mul(tick_ns),
            chance: self.chance,
            roles: roles.clone(),
            // The name of its agent means nothing for the outcome.
            agent: own.name.clone(),
            code: own.code.clone(),
            seen: self.seen.clone(),
            arrivals: self.arrivals.clone(),
            letters: Arc::default(),
            answers: self.answers.clone(),
            memory: self.memory.clone(),
            budget: self.places.memory.clone(),
            max_memory_bytes: self.places.max_memory_bytes,
            names: own.description.columns.clone(),
            base: sessions.base(),
            fuel,
        }
    }

    /// Let members that are sessions have their turns. What has come of these, for each role.
    pub(super) async fn step_sessions(
        &mut self,
        input: &TickInput,
        letters: &Arc<Vec<Letter>>,
    ) -> Result<Vec<Vec<SessionTurn>>, WorldError> {
        if self.roles.iter().all(|role| role.sessions.is_none()) {
            return Ok(self.roles.iter().map(|_| Vec::new()).collect());
        }
        let mut turns = Vec::with_capacity(self.roles.len());
        let roles = self.told_roles();
        let mut used = self.fuel;
        for place in 0..self.roles.len() {
            self.make_room_for(place).await?;
            let Some(mut sessions) = self.roles[place].sessions.take() else {
                turns.push(Vec::new());
                continue;
            };
            let own = &self.roles[place];
            // What is left of the world's fuel no member learns of.
            let moment = self.moment(place, &sessions, &roles, sessions.fuel_per_turn());
            let tick = Arc::new(SessionTick { letters: letters.clone(), ..moment });
            let acting = match (&input.acting[place], &own.ended) {
                (Some(acting), _) => acting.clone(),
                (None, None) => (0..own.size).collect(),
                (None, Some(ended)) => {
                    (0..own.size).filter(|member| !ended[*member as usize]).collect()
                }
            };
            let fuel_left = self.fuel_limit.map_or(u64::MAX, |limit| limit.saturating_sub(used));
            let stepped =
                sessions.step(acting, &tick, fuel_left, &self.runtime, &self.places).await;
            self.roles[place].sessions = Some(sessions);
            match stepped? {
                Ok(stepped) => {
                    let fuel = stepped.turns.iter().map(|turn| turn.fuel);
                    used = fuel.fold(used, u64::saturating_add);
                    turns.push(stepped.turns);
                    if used > self.fuel_limit.unwrap_or(u64::MAX) {
                        // It is the world that has no more.
                        let (at, role) = (input.at, self.roles[place].name.clone());
                        return Err(WorldError::Failed { at, role, fault: Fault::FuelExhausted });
                    }
                }
                Err(MemberFault { member, fault }) => {
                    return Err(self.member_failed(place, member, fault));
                }
            }
        }
        Ok(turns)
    }

    /// Where no member of a role is in memory, and there is no place for one: let one of another role leave.
    async fn make_room_for(&mut self, place: usize) -> Result<(), WorldError> {
        let has_some =
            |role: &RoleOfWorld| role.sessions.as_ref().is_none_or(|own| own.instances() > 0);
        if has_some(&self.roles[place]) || self.places.take_one().is_ok() {
            return Ok(());
        }
        for other in 0..self.roles.len() {
            let Some(sessions) = &mut self.roles[other].sessions else { continue };
            let left = sessions.leave_one(&self.memory).await;
            match left {
                Ok(Some(_)) => return Ok(()),
                Ok(None) => {}
                Err(MemberFault { member, fault }) => {
                    return Err(self.member_failed(other, member, fault));
                }
            }
        }
        Ok(())
    }

    fn member_failed(&self, role: usize, member: Member, fault: Fault) -> WorldError {
        match fault {
            Fault::Effect(EffectError::Diverged(problem)) => {
                WorldError::Differs { at: self.at, problem }
            }
            fault => {
                let role = self.roles[role].name.clone();
                WorldError::MemberFailed { at: self.at, role, member, fault }
            }
        }
    }

    /// What members that are sessions publish of what is wanted.
    pub(super) fn publish_sessions(
        &self,
        role: usize,
        wanted: &[String],
        columns: &mut [BTreeMap<String, Column>],
    ) {
        let own = &self.roles[role];
        let Some(sessions) = &own.sessions else { return };
        for name in wanted {
            if let Some(place) = own.description.columns.iter().position(|column| column == name) {
                columns[role].insert(name.clone(), sessions.column(place));
            }
        }
    }
}
