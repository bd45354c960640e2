//! Keyframes: all that a world goes on from, in one piece.
//!
//! A world that was restored from a keyframe comes to what the world that it was taken of comes to: what is left out follows
//! from the specification. How rows are split stays as it was.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use borsh::{BorshDeserialize, BorshSerialize};
use tokio::runtime::Handle;

use super::births::Newborn;
use super::letters::Letter;
use super::make::not_made;
use super::memory::Charged;
use super::sessions::{MemberFault, SessionFrame};
use super::shard::{FUEL, Shard};
use super::{MadeOf, Places, World, WorldError};
use crate::fingerprint::{Chain, Fingerprint};
use crate::recording::Answers;
use crate::router::{Inbox, Router};
use crate::spec::{ParameterSpec, WorldSpec};
use crate::view::Seen;
use dormouse_domain::simulation::{Column, Description, Member, Role, Tick};
use dormouse_domain::snapshot::GuestState;

/// The form of a keyframe.
const FORMAT: u32 = 2;

/// All that a world goes on from.
pub struct Keyframe {
    /// It, in one piece.
    pub bytes: Vec<u8>,
    /// What pays for these as long as they are in memory.
    pub charge: Charged,
}

/// All of a world that does not follow from its specification. What is written is `Frame<&…>`, field by field.
#[derive(BorshDeserialize)]
struct Frame {
    format: u32,
    at: Tick,
    steps: u64,
    fuel: u64,
    hash: Fingerprint,
    router: Router,
    arrivals: Vec<Vec<Inbox>>,
    letters: Vec<Letter>,
    aggregates: BTreeMap<String, Option<f64>>,
    roles: Vec<RoleFrame>,
}

#[derive(BorshDeserialize)]
struct RoleFrame {
    description: Description,
    parameters: BTreeMap<String, ParameterSpec>,
    size: u32,
    ended: Option<Vec<bool>>,
    wakes: BTreeMap<Tick, Vec<Member>>,
    newborn: Newborn,
    /// What others see of it.
    seen_size: u32,
    columns: BTreeMap<String, Column>,
    shards: Vec<ShardFrame>,
    /// `None`: its members are rows.
    sessions: Option<Vec<SessionFrame>>,
}

/// What is saved of the members of a role.
struct SavedRole {
    shards: Vec<ShardFrame>,
    sessions: Option<Vec<SessionFrame>>,
}

#[derive(BorshSerialize, BorshDeserialize)]
struct ShardFrame {
    first: Member,
    count: u32,
    ended: u32,
    state: GuestState,
}

impl World {
    /// All that the world goes on from. `None`: a population holds something open, so that its state cannot be saved now.
    ///
    /// # Errors
    /// The host has no memory for it. After [`WorldError::Failed`] the world is of no use.
    pub async fn keyframe(&mut self) -> Result<Option<Keyframe>, WorldError> {
        let saved = self.save_members().await;
        let keyframe = match saved {
            Ok(Some(saved)) => self.write(&saved).map(Some),
            Ok(None) => Ok(None),
            Err(error) => Err(error),
        };
        // What was saved is copied, or of no use.
        for shard in self.roles.iter_mut().flat_map(|role| &mut role.shards) {
            shard.population.stored();
        }
        keyframe
    }

    async fn save_members(&mut self) -> Result<Option<Vec<SavedRole>>, WorldError> {
        let (at, now) = (self.at, self.spec.clock.at(self.at));
        let mut roles = Vec::with_capacity(self.roles.len());
        for role in &mut self.roles {
            let mut saved = Vec::with_capacity(role.shards.len());
            for shard in &mut role.shards {
                shard.population.stand_still(now, at);
                let state = shard.population.save(FUEL).await;
                let failed = |fault| WorldError::Failed { at, role: role.name.clone(), fault };
                let Some(state) = state.map_err(failed)? else { return Ok(None) };
                let Shard { first, count, ended, .. } = *shard;
                saved.push(ShardFrame { first, count, ended, state });
            }
            let sessions = match &mut role.sessions {
                None => None,
                Some(sessions) => match sessions.frames(&self.memory).await {
                    Ok(Some(frames)) => Some(frames),
                    Ok(None) => return Ok(None),
                    Err(MemberFault { member, fault }) => {
                        let role = role.name.clone();
                        return Err(WorldError::MemberFailed { at, role, member, fault });
                    }
                },
            };
            roles.push(SavedRole { shards: saved, sessions });
        }
        Ok(Some(roles))
    }

    /// [`Frame`], without a copy of what it has.
    fn write(&self, saved: &[SavedRole]) -> Result<Keyframe, WorldError> {
        let shards = saved.iter().flat_map(|role| &role.shards);
        let sessions = saved.iter().filter_map(|role| role.sessions.as_ref()).flatten();
        let states = shards.map(|frame| frame.state.size() as u64).sum::<u64>()
            + sessions.map(SessionFrame::bytes).sum::<u64>()
            + self.letters.iter().map(Letter::bytes).sum::<u64>();
        let arriving = self.arrivals.iter().flatten().map(Inbox::bytes).sum::<u64>();
        // A list that grows may have twice what it needs.
        let needed = 2 * (states + arriving + self.router.bytes());
        let charge = self.memory.charged(needed);
        let charge = charge.map_err(|needed| WorldError::OutOfMemory { needed })?;
        let bytes = self.written(saved).map_err(|error| WorldError::Host(error.to_string()))?;
        Ok(Keyframe { bytes, charge })
    }

    fn written(&self, saved: &[SavedRole]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        (FORMAT, self.at, self.steps, self.fuel, self.chain.last()).serialize(&mut out)?;
        (&self.router, &*self.arrivals, &self.letters).serialize(&mut out)?;
        self.seen.aggregates.serialize(&mut out)?;
        let roles = self.roles.iter().zip(&self.seen.roles).zip(saved);
        let roles: Vec<_> = roles
            .map(|((role, seen), SavedRole { shards, sessions })| {
                let now = (&role.description, &role.parameters, role.size, &role.ended);
                let next = (&role.wakes, &role.newborn);
                (now, next, (seen.size, &seen.columns), shards, sessions)
            })
            .collect();
        roles.serialize(&mut out)?;
        Ok(out)
    }

    /// Make a world that goes on from a keyframe of a world of the same specification and populations. Steps of its program
    /// that are over may differ.
    ///
    /// # Errors
    /// [`WorldError::Keyframe`]: another keyframe has to be taken, or the world begun anew.
    pub async fn restore(
        spec: Arc<WorldSpec>,
        made_of: Vec<MadeOf>,
        answers: Answers,
        places: Places,
        runtime: Handle,
        keyframe: &[u8],
    ) -> Result<World, WorldError> {
        let unusable = |problem: String| WorldError::Keyframe(problem);
        let mut world = World::empty(spec, &made_of, answers, places, runtime).await?;
        let needed = keyframe.len() as u64;
        world.memory.charge(needed).map_err(|needed| WorldError::OutOfMemory { needed })?;
        let frame = Frame::try_from_slice(keyframe).map_err(|error| unusable(error.to_string()))?;
        if frame.format != FORMAT || frame.roles.len() != world.roles.len() {
            return Err(unusable("it is of another form, or of another world".to_owned()));
        }
        (world.at, world.steps, world.fuel) = (frame.at, frame.steps, frame.fuel);
        world.chain = Chain::go_on(frame.hash);
        world.router = frame.router;
        world.arrivals = Arc::new(frame.arrivals);
        world.letters = frame.letters;
        let mut seen = Vec::with_capacity(frame.roles.len());
        for (place, role) in frame.roles.into_iter().enumerate() {
            let own = &mut world.roles[place];
            (own.description, own.parameters) = (role.description, role.parameters);
            (own.size, own.ended, own.newborn) = (role.size, role.ended, role.newborn);
            own.waiting = role.wakes.values().map(Vec::len).sum();
            own.wakes = role.wakes;
            seen.push(world.show(&world.roles[place], role.seen_size, role.columns)?);
            match (world.sessions_of(place).await?, role.sessions) {
                (Some(mut sessions), Some(frames)) => {
                    sessions.restore(frames).map_err(unusable)?;
                    world.roles[place].sessions = Some(sessions);
                }
                (None, None) => {}
                _ => return Err(unusable("it has members of another kind".to_owned())),
            }
            for frame in role.shards {
                let shard = world.restore_shard(place, frame).await?;
                world.roles[place].shards.push(shard);
            }
        }
        world.seen = Arc::new(Seen { roles: seen, aggregates: frame.aggregates });
        world.decide_what_is_read()?;
        world.keep_what_is_kept();
        Ok(world)
    }

    async fn restore_shard(
        &mut self,
        place: usize,
        frame: ShardFrame,
    ) -> Result<Shard, WorldError> {
        let permit = self.places.take_one()?;
        let code = self.roles[place].code.clone();
        let made = code.populate(self.grant(place as Role), self.places.memory.account()).await;
        let mut population = made.map_err(|fault| not_made(place, fault))?;
        population.restore(&frame.state, FUEL).await.map_err(|fault| {
            if fault.is_of_host() {
                not_made(place, fault)
            } else {
                WorldError::Keyframe(fault.to_string())
            }
        })?;
        let mut shard = Shard::new(population, permit, frame.first, frame.count);
        shard.ended = frame.ended;
        Ok(shard)
    }
}
