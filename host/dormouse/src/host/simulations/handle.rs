//! A world that the host keeps.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::{Host, to_its_end};
use super::SimulationError;
use crate::worlds::{
    Branch, KnownWorld, LoggedTick, MembersRead, OrderError, SimulationRecord, Surveyed,
};
use dormouse_domain::access::Action;
use dormouse_domain::id::SimulationId;
use dormouse_domain::limits::NanoUsd;
use dormouse_domain::simulation::{Column, SimulationStatus, Tick};
use dormouse_domain::turn::Part;
use dormouse_simulation::spec::{Announcement, Budget, Change, Deed};
use dormouse_simulation::{AggregateValue, Bundle, Record, SpecError, WorldSpec};

/// Ticks of a log that are read at a time.
const PAGE: usize = 4 << 10;
/// The most branches that are made at once.
const MAX_BRANCHES: usize = 100;

/// The most members that are asked something at once.
const MAX_SURVEYED: usize = 1_000;

/// The most bytes of what is recorded of a world in a bundle, about.
const MAX_RECORDED: u64 = 256 << 20;

/// A world that the host keeps. Cheap to clone.
#[derive(Clone)]
pub struct SimulationHandle {
    host: Host,
    known: Arc<KnownWorld>,
}

/// How a world goes on from the tick at which it is forked.
#[derive(Clone, Debug, Default)]
pub struct NewBranch {
    /// What people call it. Otherwise as the world.
    pub name: Option<String>,
    /// The parameters, and the configuration of members, that have other values from there on.
    pub set: Vec<Change>,
    /// Mail to members that are sessions.
    pub send: Vec<Announcement>,
}

/// What some members of a role publish.
#[derive(Clone, Debug, PartialEq)]
pub struct SimulationMembers {
    /// How many ticks the world has behind it.
    pub ticks: Tick,
    /// How many members of the role there are or were.
    pub size: u32,
    /// The values of each column.
    pub columns: Vec<(String, Column)>,
}

/// What members of a world have replied to a question.
#[derive(Clone, Debug, PartialEq)]
pub struct SimulationSurvey {
    /// How many ticks the world has behind it.
    pub ticks: Tick,
    /// What each member has replied, or why it has not, in the order in which they were named.
    pub replies: Vec<Result<Vec<Part>, String>>,
    /// What it has cost.
    pub cost: NanoUsd,
}

/// In what two worlds differ.
#[derive(Clone, Debug, PartialEq)]
pub struct SimulationDifference {
    /// How many ticks both have behind them.
    pub compared: Tick,
    /// The first of these that comes to something else. `None`: none does.
    pub first: Option<Tick>,
    /// The last values of the aggregates that both have, by name: of the one and the other, at the last tick that both have. `None`:
    /// there were no members.
    pub aggregates: BTreeMap<String, (Option<f64>, Option<f64>)>,
}

impl std::fmt::Debug for SimulationHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimulationHandle").field("id", &self.known.id).finish_non_exhaustive()
    }
}

impl SimulationHandle {
    pub(super) fn new(host: Host, known: Arc<KnownWorld>) -> SimulationHandle {
        SimulationHandle { host, known }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> SimulationId {
        self.known.id
    }

    /// What the store has of it. Where it runs, that is about a second old.
    #[must_use]
    pub fn record(&self) -> Arc<SimulationRecord> {
        self.known.record()
    }

    /// Its specification, with what was done to it since.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn spec(&self) -> Result<WorldSpec, SimulationError> {
        let spec = self.host.inner.worlds.spec(&self.known).await;
        spec.map(|(_, spec)| spec).map_err(SimulationError::Store)
    }

    /// Let it go on until something ends it, with this budget from now on, where one is given.
    ///
    /// # Errors
    /// [`SimulationError::Status`]: it runs, or is over.
    pub async fn start(&self, budget: Option<Budget>) -> Result<(), SimulationError> {
        self.go_on(budget, None).await
    }

    /// Let it go on by so many ticks.
    ///
    /// # Errors
    /// As [`SimulationHandle::start`].
    pub async fn step(&self, ticks: Tick) -> Result<(), SimulationError> {
        self.may_be_changed()?;
        self.go_on(None, Some(ticks)).await
    }

    async fn go_on(
        &self,
        budget: Option<Budget>,
        ticks: Option<Tick>,
    ) -> Result<(), SimulationError> {
        self.host.may(Action::Change)?;
        let (worlds, known) = (self.host.inner.worlds.clone(), self.known.clone());
        let started = to_its_end(async move { worlds.start(&known, budget, ticks).await });
        started.await.map_err(|error| SimulationError::of(error, self.id()))
    }

    /// Let it stand still between two ticks, and wait until it does. Nothing where it does not run.
    ///
    /// # Errors
    /// The caller is a reader.
    pub async fn pause(&self) -> Result<Arc<SimulationRecord>, SimulationError> {
        self.host.may(Action::Change)?;
        let (worlds, known) = (self.host.inner.worlds.clone(), self.known.clone());
        to_its_end(async move { worlds.pause(&known).await }).await;
        Ok(self.record())
    }

    /// End it. Nothing of it is removed.
    ///
    /// # Errors
    /// [`SimulationError::Status`]: it is over.
    pub async fn stop(&self) -> Result<(), SimulationError> {
        self.host.may(Action::Change)?;
        let (worlds, known) = (self.host.inner.worlds.clone(), self.known.clone());
        let stopped = to_its_end(async move { worlds.stop(&known).await }).await;
        stopped.map_err(|error| SimulationError::of(error, self.id()))
    }

    /// Remove it, whatever it does.
    ///
    /// # Errors
    /// The store's.
    pub async fn delete(&self) -> Result<(), SimulationError> {
        self.host.may(Action::Change)?;
        self.may_be_changed()?;
        let (worlds, known) = (self.host.inner.worlds.clone(), self.known.clone());
        let removed = to_its_end(async move { worlds.remove(&known).await }).await;
        removed.map_err(|error| SimulationError::of(error, self.id()))
    }

    /// Whether anything but its experiment decides what becomes of it.
    fn may_be_changed(&self) -> Result<(), SimulationError> {
        match self.known.record().run_of {
            Some((experiment, _)) => Err(SimulationError::RunOf(experiment)),
            None => Ok(()),
        }
    }

    /// Wait until it stands still, for whichever reason.
    pub async fn wait(&self) -> Arc<SimulationRecord> {
        let mut records = self.known.follow();
        let at_rest = records.wait_for(|record| record.status != SimulationStatus::Running).await;
        match at_rest {
            Ok(record) => record.clone(),
            Err(_) => self.record(),
        }
    }

    /// Wait until it is otherwise than this: more has come of it, or it is in another state.
    pub async fn changed(&self, since: &SimulationRecord) -> Arc<SimulationRecord> {
        let mut records = self.known.follow();
        let other = |record: &Arc<SimulationRecord>| {
            record.progress.ticks != since.progress.ticks || record.status != since.status
        };
        match records.wait_for(other).await {
            Ok(record) => record.clone(),
            Err(_) => self.record(),
        }
    }

    /// Give these parameters of a role other values before its next tick. Which one that is.
    ///
    /// # Errors
    /// [`SimulationError::Spec`] names what makes no sense; [`SimulationError::Status`]: it is over.
    pub async fn set(&self, change: Change) -> Result<Tick, SimulationError> {
        self.host.may(Action::Change)?;
        self.may_be_changed()?;
        let (worlds, known) = (self.host.inner.worlds.clone(), self.known.clone());
        let set = to_its_end(async move { worlds.intervene(&known, Deed::Set(change)).await });
        set.await.map_err(|error| self.of_change(error, ""))
    }

    /// Send this to members that are sessions before its next tick. Which one that is.
    ///
    /// # Errors
    /// As [`SimulationHandle::set`].
    pub async fn send(&self, mail: Announcement) -> Result<Tick, SimulationError> {
        self.host.may(Action::Change)?;
        self.may_be_changed()?;
        let (worlds, known) = (self.host.inner.worlds.clone(), self.known.clone());
        let sent = to_its_end(async move { worlds.intervene(&known, Deed::Send(mail)).await });
        sent.await.map_err(|error| self.of_change(error, ""))
    }

    /// What is wrong with a change, by the field of whoever asks for it.
    fn of_change(&self, error: OrderError, within: &str) -> SimulationError {
        match error {
            OrderError::Spec(SpecError::Invalid { field, problem }) => {
                let deed = |deed: &str| field.rsplit_once(deed).map(|(_, own)| own);
                let own = deed("do.set.").or_else(|| deed("do.send.")).unwrap_or(&field);
                SimulationError::Invalid { field: format!("{within}{own}"), problem }
            }
            error => SimulationError::of(error, self.id()),
        }
    }

    /// What has come of its ticks, from this one on: `limit` of them at most, and none only where there are no more.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn ticks(
        &self,
        from: Tick,
        limit: usize,
    ) -> Result<Vec<LoggedTick>, SimulationError> {
        let ticks = self.host.inner.worlds.ticks(&self.record(), from, limit).await;
        ticks.map_err(SimulationError::Store)
    }

    /// What some members of a role publish, by name and in the order in which their population describes it: those from this number
    /// on, `limit` of them at most. They are as the world was where its log ends, of one that runs about a second ago: the world is made
    /// again for it.
    ///
    /// # Errors
    /// There is no such role, or the world cannot be made.
    pub async fn members(
        &self,
        role: &str,
        from: u32,
        limit: u32,
    ) -> Result<SimulationMembers, SimulationError> {
        let (worlds, known) = (self.host.inner.worlds.clone(), self.known.clone());
        let runtime = self.host.inner.services.sandbox.runtime().clone();
        let role = role.to_owned();
        let read = async move { worlds.columns(&known, &role, from, limit).await };
        let read = super::on(&runtime, read).await?;
        let read = read.map_err(|error| SimulationError::of(error, self.id()))?;
        let MembersRead { ticks, size, columns } = read;
        Ok(SimulationMembers { ticks, size, columns })
    }

    /// Ask members of a role that are sessions something, and answer with what each replies, or why it does not. They are as the world
    /// was where its log ends, and nothing is left of it: the world is made again for it. What it costs is the owner's, and not of
    /// the world's budget.
    ///
    /// # Errors
    /// There is no such member, or it is a row; or the world cannot be made.
    pub async fn survey(
        &self,
        role: &str,
        members: &[u32],
        question: Vec<Part>,
    ) -> Result<SimulationSurvey, SimulationError> {
        self.host.may(Action::Change)?;
        if members.is_empty() || members.len() > MAX_SURVEYED {
            let problem = format!("1 to {MAX_SURVEYED} members are asked at once");
            return Err(SimulationError::Invalid { field: "members".to_owned(), problem });
        }
        let (worlds, known) = (self.host.inner.worlds.clone(), self.known.clone());
        let runtime = self.host.inner.services.sandbox.runtime().clone();
        let (role, members) = (role.to_owned(), members.to_vec());
        let asked = async move { worlds.survey(&known, &role, &members, &question).await };
        let asked = super::on(&runtime, to_its_end(asked)).await?;
        let asked = asked.map_err(|error| SimulationError::of(error, self.id()))?;
        let Surveyed { ticks, replies, cost } = asked;
        Ok(SimulationSurvey { ticks, replies, cost })
    }

    /// Worlds that have come to where this one was before tick `at`, or where it is now, and go on from there as these branches say.
    /// They have the owner of this one, and have not been started.
    ///
    /// # Errors
    /// [`SimulationError::NotThere`], or [`SimulationError::Spec`] names what makes no sense. None is made then.
    pub async fn fork(
        &self,
        at: Option<Tick>,
        branches: Vec<NewBranch>,
    ) -> Result<Vec<SimulationHandle>, SimulationError> {
        self.host.may(Action::Change)?;
        if branches.is_empty() || branches.len() > MAX_BRANCHES {
            let problem =
                format!("a simulation is forked into 1 to {MAX_BRANCHES} branches at once");
            return Err(SimulationError::Invalid { field: "branches".to_owned(), problem });
        }
        let branch = |new: NewBranch| Branch {
            name: new.name,
            deeds: {
                let set = new.set.into_iter().map(Deed::Set);
                set.chain(new.send.into_iter().map(Deed::Send)).collect()
            },
        };
        let branches = branches.into_iter().map(branch).collect();
        let (worlds, known) = (self.host.inner.worlds.clone(), self.known.clone());
        let forked = to_its_end(async move { worlds.fork(&known, at, branches).await }).await;
        let forked = forked.map_err(|error| self.of_change(error, "branches: "))?;
        let handle = |known| SimulationHandle::new(self.host.clone(), known);
        Ok(forked.into_iter().map(handle).collect())
    }

    /// In what another world differs from this one, as far as both have come.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn difference(
        &self,
        other: &SimulationHandle,
    ) -> Result<SimulationDifference, SimulationError> {
        let (one, two) = (self.record(), other.record());
        let compared = one.progress.ticks.min(two.progress.ticks);
        let mut difference =
            SimulationDifference { compared, first: None, aggregates: BTreeMap::new() };
        let (mut last, mut at) = ((BTreeMap::new(), BTreeMap::new()), 0);
        while at < compared {
            let limit = usize::try_from(compared - at).unwrap_or(PAGE).min(PAGE);
            let mut own = self.ticks(at, limit).await?;
            let mut others = other.ticks(at, own.len()).await?;
            own.truncate(others.len());
            others.truncate(own.len());
            for (tick, (own, other)) in (at..).zip(own.iter().zip(&others)) {
                if difference.first.is_none() && own.hash != other.hash {
                    difference.first = Some(tick);
                }
                last.0.extend(named(&one, own));
                last.1.extend(named(&two, other));
            }
            at += own.len() as u64;
        }
        for (name, value) in last.0 {
            if let Some(other) = last.1.get(&name) {
                difference.aggregates.insert(name, (value, *other));
            }
        }
        Ok(difference)
    }

    /// The world as a file, which somebody else can verify: once it has come to its last tick.
    ///
    /// # Errors
    /// [`SimulationError::Status`]: it has not.
    pub async fn bundle(&self) -> Result<Bundle, SimulationError> {
        let record = self.record();
        let Some(fingerprint) = record.fingerprint else {
            let hint = "a bundle is of a simulation that has come to its last tick";
            return Err(SimulationError::Status { status: record.status, hint });
        };
        let each = 32 + 32 * record.aggregates.len() as u64;
        if record.planned.saturating_mul(each).max(record.log_bytes()) > MAX_RECORDED {
            let problem = "a bundle has all hashes, aggregates and calls, and these would be more than 256 MiB";
            return Err(SimulationError::NotThere(problem.to_owned()));
        }
        let mut recorded = Record { fingerprint, ..Record::default() };
        while (recorded.hashes.len() as u64) < record.planned {
            let at = recorded.hashes.len() as u64;
            for (at, tick) in (at..).zip(self.ticks(at, PAGE).await?) {
                recorded.hashes.push(tick.hash);
                recorded.aggregates.extend(
                    tick.aggregates.into_iter().map(|(place, value)| AggregateValue {
                        at,
                        place: place as usize,
                        value,
                    }),
                );
            }
        }
        let calls = self.host.inner.worlds.calls(record.id, 0, record.planned).await;
        recorded.calls = calls.map_err(SimulationError::Store)?;
        let mut populations = BTreeMap::new();
        for digest in &record.made_of {
            let component = self.host.inner.worlds.component(*digest).await;
            let component = component.map_err(SimulationError::Store)?;
            populations.insert(*digest, component.to_vec());
        }
        let spec = self.spec().await?;
        Ok(Bundle { spec, made_of: record.made_of.clone(), populations, record: recorded })
    }
}

/// The aggregates of a tick, by name.
fn named(record: &SimulationRecord, tick: &LoggedTick) -> Vec<(String, Option<f64>)> {
    let name = |place: &u32| record.aggregates.get(*place as usize).cloned().unwrap_or_default();
    tick.aggregates.iter().map(|(place, value)| (name(place), *value)).collect()
}
