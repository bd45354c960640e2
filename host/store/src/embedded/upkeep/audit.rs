//! Whether everything decodes, refers to what is there, and is counted right.
//!
//! The engine shows all keys of one moment, in order, each once. So of what has been seen, only as
//! much is kept as what comes later is compared with: about 150 bytes for a session and 80 for a
//! blob. The snapshots of a session are compared by their number and by the sum of their names.

use std::collections::{BTreeSet, HashMap, HashSet};

use bytes::Bytes;

use super::super::blob::{self, BlobId};
use super::super::cell::{self, Content, Places, SessionCell, SnapshotCell, TemplateCell, Turns};
use super::super::keys::{self, Row};
use crate::codec::{self, CodecError, Kind};
use crate::upkeep::{CheckReport, Problem};
use dormouse_domain::agent::{AgentName, AgentOwner, AgentRef, Digest, Version};
use dormouse_domain::id::{SessionId, SnapshotId};
use dormouse_domain::session::Session;
use dormouse_domain::state::{Cause, Reason};

/// Why a session is in `error` whose head is not there any more.
pub(super) const CORRUPT: &str = Cause::SnapshotCorrupt.as_str();

/// What is wrong, for whoever mends it.
#[derive(Debug, Default)]
pub(super) struct Audited {
    /// What is told.
    pub(super) report: CheckReport,
    /// The sessions of which something is wrong.
    pub(super) sessions: BTreeSet<SessionId>,
    /// The keys of what is of no use, apart from sessions, their snapshots and blobs.
    pub(super) useless: Vec<Vec<u8>>,
    /// The first value that a later version has written: it is not damaged, and all that is said of the
    /// others may be wrong.
    pub(super) newer: Option<String>,
    /// Components that no agent has.
    pub(super) strays: Vec<Digest>,
    /// All blobs.
    pub(super) blobs: HashMap<BlobId, Blob>,
}

/// What has been seen, and what is wrong with it.
#[derive(Debug)]
pub(super) struct Audit {
    found: Audited,
    /// Whether all keys are of one moment. Where they are not, only damage is told.
    exact: bool,
    /// How many values could not be read.
    unreadable: u64,
    /// The chunks of the lists that are blobs themselves.
    lists: HashMap<Digest, Vec<BlobId>>,
    agents: HashSet<AgentRef>,
    /// Those of layout 3, which references without an owner mean.
    without_owner: HashMap<(AgentName, Version), Digest>,
    /// Whether these are all agents.
    agents_are_known: bool,
    components: HashSet<Digest>,
    /// The components that sessions and templates refer to.
    wanted: HashSet<Digest>,
    holders: HashMap<SessionId, Names>,
    rows: HashMap<SessionId, Rows>,
    sessions_aside: HashSet<SessionId>,
    notes: u64,
}

/// A blob: how often it is used, as it is counted and as it is, and its bytes.
#[derive(Debug, Default)]
pub(super) struct Blob {
    pub(super) counted: u64,
    pub(super) used: u64,
    pub(super) bytes: BlobBytes,
}

/// What is known of the bytes of a blob.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum BlobBytes {
    #[default]
    Missing,
    Damaged,
    Good,
}

/// Names of snapshots: how many, and their sum, for which their order makes no difference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Names {
    count: u64,
    sum: u128,
}

impl Names {
    fn add(&mut self, name: SnapshotId) {
        self.count += 1;
        self.sum = self.sum.wrapping_add(name.0.as_u128());
    }
}

/// What a session has in rows.
#[derive(Clone, Copy, Debug, Default)]
struct Rows {
    snapshots: Names,
    last_turn: Option<u64>,
    /// Whether turns are missing, and it is known why.
    has_gap: bool,
}

impl Audit {
    /// Nothing has been seen.
    pub(super) fn new(exact: bool) -> Audit {
        Audit {
            found: Audited::default(),
            exact,
            unreadable: 0,
            lists: HashMap::new(),
            agents: HashSet::new(),
            without_owner: HashMap::new(),
            agents_are_known: true,
            components: HashSet::new(),
            wanted: HashSet::new(),
            holders: HashMap::new(),
            rows: HashMap::new(),
            sessions_aside: HashSet::new(),
            notes: 0,
        }
    }

    /// See a key with its value, or why that cannot be read.
    pub(super) fn see(&mut self, key: &[u8], value: Result<Bytes, &'static str>) {
        let seen = match value {
            Ok(value) => self.take(key, &value),
            Err(what) => {
                self.unreadable += 1;
                Err(CodecError::Malformed(what.to_owned()))
            }
        };
        if let Err(error) = seen {
            if matches!(error, CodecError::Newer(_)) && self.found.newer.is_none() {
                self.found.newer = Some(format!("{}: {error}", keys::describe(key)));
            }
            self.lose(key);
            let what = match error {
                CodecError::Malformed(what) => what,
                other => other.to_string(),
            };
            let what = format!("{}: {what}", keys::describe(key));
            self.add(Problem::Damaged, keys::concerned(key), what);
            let has_place = matches!(
                key,
                [keys::SESSION | keys::BLOB | keys::CONTENT | keys::HOLDER | keys::NOTE, ..]
            );
            if !has_place && keys::row_of(key).is_none() {
                self.found.useless.push(key.to_vec());
            }
        }
    }

    /// How many values could not be read.
    pub(super) fn unreadable(&self) -> u64 {
        self.unreadable
    }

    /// Say what is wrong, now that everything has been seen, and what is known of blobs.
    pub(super) fn finish(mut self) -> Audited {
        if self.exact {
            self.compare_blobs();
            self.compare_components();
            self.find_strays();
            if self.notes < 2 {
                let what = "the store does not say which layout it has, or its secret is lost";
                self.add(Problem::Missing, None, what.to_owned());
            }
        }
        self.found
    }

    fn take(&mut self, key: &[u8], value: &Bytes) -> Result<(), CodecError> {
        match key {
            [keys::AGENT, ..] => self.agent(key, value),
            [keys::BLOB, ..] => {
                let uses = blob::read_uses(&codec::unseal(Kind::Note, key, value)?)?;
                self.blob(key)?.counted = uses;
                Ok(())
            }
            [keys::CONTENT, ..] => self.content(key, value),
            [keys::EVENTS, ..] => {
                let piece = codec::unseal(Kind::Events, key, value)?;
                for event in cell::read_events(&piece)? {
                    codec::decode_event(event)?;
                }
                Ok(())
            }
            [keys::HOLDER, ..] => {
                let holder = codec::unseal(Kind::Note, key, value)?;
                let session =
                    keys::session_of(keys::SESSION, &[&[keys::SESSION], &*holder].concat());
                let (Some(session), Some(snapshot)) = (session, keys::held(key)) else {
                    return Err(malformed("it is no session"));
                };
                self.holders.entry(session).or_default().add(snapshot);
                Ok(())
            }
            [keys::NOTE, ..] => {
                codec::unseal(Kind::Note, key, value)?;
                self.notes += u64::from(key == keys::FORMAT || key == keys::SECRET);
                Ok(())
            }
            [keys::COMPONENT, digest @ ..] => {
                if Digest::of(value).0 != digest {
                    return Err(malformed("it is another component"));
                }
                self.components.insert(Digest::of(value));
                Ok(())
            }
            [keys::ASIDE, key @ ..] => {
                self.found.report.read.set_aside += 1;
                self.set_aside(key);
                Ok(())
            }
            [keys::SESSION, ..] => self.session(key, value),
            [keys::TEMPLATE, ..] => self.template(key, value),
            [keys::GONE, ..] => {
                if let Some(id) = keys::concerned(key) {
                    self.rows.remove(&id);
                    self.holders.remove(&id);
                }
                Ok(())
            }
            _ => match keys::row_of(key) {
                Some((id, Row::Turns(last))) => self.turns(id, last, key, value),
                Some((_, Row::Places(_))) => {
                    Places::read(&codec::unseal(Kind::Places, key, value)?).map(drop)
                }
                Some((id, Row::Snapshot(snapshot))) => self.snapshot(id, snapshot, key, value),
                None => Err(malformed("nobody has written this")),
            },
        }
    }

    /// What a key that cannot be read does not tell.
    pub(super) fn lose(&mut self, key: &[u8]) {
        match key {
            [keys::AGENT, ..] => self.agents_are_known = false,
            [keys::CONTENT, ..] => {
                if let Ok(blob) = self.blob(key) {
                    blob.bytes = BlobBytes::Damaged;
                }
            }
            [keys::COMPONENT, digest @ ..] => {
                self.components.extend(<[u8; 32]>::try_from(digest).map(Digest));
            }
            // Told once is enough.
            [keys::SESSION, ..] => {
                self.sessions_aside.extend(keys::concerned(key));
            }
            [keys::NOTE, ..] => self.notes += 1,
            _ => match keys::row_of(key) {
                Some((id, Row::Turns(last))) => {
                    let rows = self.rows.entry(id).or_default();
                    rows.last_turn = Some(last);
                    rows.has_gap = true;
                }
                Some((id, Row::Snapshot(snapshot))) => {
                    self.rows.entry(id).or_default().snapshots.add(snapshot);
                }
                Some((_, Row::Places(_))) | None => {}
            },
        }
    }

    fn set_aside(&mut self, key: &[u8]) {
        match key {
            [keys::SESSION, ..] => self.sessions_aside.extend(keys::concerned(key)),
            [keys::AGENT, ..] => self.agents_are_known = false,
            _ => {
                if let Some((id, Row::Turns(_))) = keys::row_of(key) {
                    self.rows.entry(id).or_default().has_gap = true;
                }
            }
        }
    }

    fn agent(&mut self, key: &[u8], value: &[u8]) -> Result<(), CodecError> {
        let value = codec::unseal(Kind::Agent, key, value)?;
        let agent = codec::decode_agent(cell::read_agent(&value)?.1)?.reference;
        if keys::agent_without_owner(&agent.name, &agent.version) == key {
            let name = (agent.name.clone(), agent.version.clone());
            self.without_owner.insert(name, agent.digest);
        } else if keys::agent(&agent) != key {
            return Err(malformed("it is another agent"));
        }
        self.found.report.read.agents += 1;
        self.agents.insert(agent);
        Ok(())
    }

    fn content(&mut self, key: &[u8], value: &Bytes) -> Result<(), CodecError> {
        let id = keys::blob_of(key).ok_or_else(|| malformed("it is no blob"))?;
        match id {
            // Its name is that of what has been compressed; the checksum of the engine has to do.
            BlobId::Chunk(_) => {}
            BlobId::Data(digest) | BlobId::List(digest) if Digest::of(value) != digest => {
                return Err(malformed("it is another blob"));
            }
            BlobId::Data(_) => {}
            BlobId::List(digest) => {
                let chunks = codec::decode_chunks(value)?;
                let chunks = chunks.into_iter().map(|chunk| BlobId::Chunk(chunk.digest));
                self.lists.insert(digest, chunks.collect());
            }
        }
        self.found.report.read.blobs += 1;
        self.blob(key)?.bytes = BlobBytes::Good;
        Ok(())
    }

    fn turns(
        &mut self,
        id: SessionId,
        last: u64,
        key: &[u8],
        value: &[u8],
    ) -> Result<(), CodecError> {
        let turns = Turns::read(&codec::unseal(Kind::Turn, key, value)?)?;
        let rows = self.rows.get(&id).copied().unwrap_or_default();
        let (end, count) = follow(&turns, rows.last_turn, rows.has_gap)?;
        if end != Some(last) {
            return Err(malformed("it ends with another turn"));
        }
        self.found.report.read.turns += count;
        self.rows.entry(id).or_default().last_turn = end;
        Ok(())
    }

    fn snapshot(
        &mut self,
        id: SessionId,
        snapshot: SnapshotId,
        key: &[u8],
        value: &[u8],
    ) -> Result<(), CodecError> {
        let value = codec::unseal(Kind::Snapshot, key, value)?;
        let cell = SnapshotCell::read(&value)?;
        if codec::decode_summary(cell.outline)?.id != snapshot {
            return Err(malformed("it is another snapshot"));
        }
        let lacks = self.use_blobs(&cell)?;
        self.found.report.read.snapshots += 1;
        self.rows.entry(id).or_default().snapshots.add(snapshot);
        self.tell_lacks(key, &lacks);
        Ok(())
    }

    fn template(&mut self, key: &[u8], value: &[u8]) -> Result<(), CodecError> {
        let value = codec::unseal(Kind::Template, key, value)?;
        let cell = TemplateCell::read(&value)?;
        let outline = codec::decode_snapshot(&Bytes::copy_from_slice(cell.snapshot.outline))?;
        let template = codec::decode_template(cell.template, outline)?;
        let lacks = self.use_blobs(&cell.snapshot)?;
        self.found.report.read.templates += 1;
        self.tell_lacks(key, &lacks);
        self.check_agent(None, key, &template.agent);
        Ok(())
    }

    fn session(&mut self, key: &[u8], value: &[u8]) -> Result<(), CodecError> {
        let value = Bytes::from(codec::unseal(Kind::Session, key, value)?.into_owned());
        let cell = SessionCell::read(&value)?;
        let record = codec::decode_session(&cell.front, &cell.body)?;
        let id = record.id;
        if keys::session(id) != key {
            return Err(malformed("it is another session"));
        }
        let rows = self.rows.get(&id).copied().unwrap_or_default();
        let (last_turn, turns) = follow(&cell.turns, rows.last_turn, rows.has_gap)?;
        self.found.report.read.turns += turns;
        self.found.report.read.sessions += 1;
        self.rows.remove(&id);
        let holders = self.holders.remove(&id).unwrap_or_default();
        self.check_agent(Some(id), key, &record.profile.agent);
        if !self.exact {
            return Ok(());
        }
        if last_turn.is_some_and(|last| last != record.usage.last_turn()) && !rows.has_gap {
            let (last, all) = (last_turn.unwrap_or(0), record.usage.last_turn());
            self.tell(Problem::Missing, id, format!("its turns end with {last}, of {all}"));
        }
        self.check_snapshots(&record, &cell, rows.snapshots, holders);
        Ok(())
    }

    fn check_snapshots(
        &mut self,
        record: &Session,
        cell: &SessionCell,
        rows: Names,
        holders: Names,
    ) {
        let mut listed = Names::default();
        cell.snapshots.iter().for_each(|kept| listed.add(kept.id));
        let id = record.id;
        if listed != rows {
            let what = format!("it lists {} snapshots, and has {}", listed.count, rows.count);
            self.tell(Problem::Missing, id, what);
        }
        if rows != holders {
            let what =
                format!("of its {} snapshots {} are found by name", rows.count, holders.count);
            self.tell(Problem::Miscounted, id, what);
        }
        let is_listed = |head: SnapshotId| cell.snapshots.iter().any(|kept| kept.id == head);
        let before = record.before_upgrade.as_ref().and_then(|before| before.head);
        let is_known = record.state.reason() == Some(&Reason::new(CORRUPT));
        for head in [record.head, before].into_iter().flatten() {
            if !is_listed(head) && !is_known {
                self.tell(Problem::Missing, id, format!("its head {head} is not there"));
            }
        }
    }

    fn check_agent(&mut self, session: Option<SessionId>, key: &[u8], agent: &AgentRef) {
        self.wanted.insert(agent.digest);
        if !self.knows(agent) && self.exact && self.agents_are_known {
            let (key, digest) = (keys::describe(key), agent.digest);
            let what = format!("{key}: its agent {agent} ({digest}) is not there");
            self.add(Problem::Missing, session, what);
        }
    }

    fn knows(&self, agent: &AgentRef) -> bool {
        let name = || (agent.name.clone(), agent.version.clone());
        self.agents.contains(agent)
            || (agent.owner == AgentOwner::Host
                && self.without_owner.get(&name()) == Some(&agent.digest))
    }

    /// Count one use of each blob of this snapshot. Returns those that are not good.
    fn use_blobs(&mut self, cell: &SnapshotCell<'_>) -> Result<Vec<BlobId>, CodecError> {
        let mut all = Vec::new();
        if let Content::Blob(digest) = cell.data {
            all.push(BlobId::Data(digest));
        }
        match cell.chunks {
            Content::Inline(list) => {
                let chunks = codec::decode_chunks(list)?;
                all.extend(chunks.into_iter().map(|chunk| BlobId::Chunk(chunk.digest)));
            }
            Content::Blob(digest) => {
                all.push(BlobId::List(digest));
                all.extend(self.lists.get(&digest).into_iter().flatten());
            }
        }
        all.sort_unstable();
        all.dedup();
        let mut lacks = Vec::new();
        for id in all {
            let blob = self.found.blobs.entry(id).or_default();
            blob.used += 1;
            let told = match blob.bytes {
                BlobBytes::Good => false,
                BlobBytes::Damaged => true,
                // The log may still have it.
                BlobBytes::Missing => self.exact,
            };
            if told {
                lacks.push(id);
            }
        }
        Ok(lacks)
    }

    fn tell_lacks(&mut self, key: &[u8], lacks: &[BlobId]) {
        if let Some(first) = lacks.first() {
            let what = format!(
                "{}: {} of its blobs cannot be read, {} first",
                keys::describe(key),
                lacks.len(),
                keys::describe(&keys::content(first))
            );
            self.add(Problem::Missing, keys::concerned(key), what);
            if key.first() == Some(&keys::TEMPLATE) {
                self.found.useless.push(key.to_vec());
            }
        }
    }

    fn blob(&mut self, key: &[u8]) -> Result<&mut Blob, CodecError> {
        let id = keys::blob_of(key).ok_or_else(|| malformed("it is no blob"))?;
        Ok(self.found.blobs.entry(id).or_default())
    }

    fn compare_blobs(&mut self) {
        let Audited { blobs, report, .. } = &mut self.found;
        for (id, blob) in &*blobs {
            let Blob { counted, used, bytes } = *blob;
            let name = keys::describe(&keys::content(id));
            if counted != used {
                let what = format!("{name}: {counted} uses are counted, and there are {used}");
                report.add(Problem::Miscounted, None, what);
            } else if used == 0 && bytes == BlobBytes::Good {
                report.add(Problem::Stray, None, format!("nothing uses {name}"));
            }
        }
    }

    fn compare_components(&mut self) {
        let Audited { report, useless, strays, .. } = &mut self.found;
        for agent in &self.agents {
            if !self.components.contains(&agent.digest) {
                let what = format!("agent/{agent}: its component is not there");
                report.add(Problem::Missing, None, what);
                useless.push(keys::agent(agent));
            }
        }
        if self.agents_are_known {
            let mut used = std::mem::take(&mut self.wanted);
            used.extend(self.agents.iter().map(|agent| agent.digest));
            for digest in self.components.difference(&used) {
                report.add(Problem::Stray, None, format!("no agent has the component {digest}"));
                strays.push(*digest);
            }
        }
    }

    fn find_strays(&mut self) {
        let is_aside = |id: &SessionId| self.sessions_aside.contains(id);
        let has_rows = |rows: &Rows| rows.snapshots.count > 0 || rows.last_turn.is_some();
        let rows = self.rows.iter().filter(|(id, rows)| has_rows(rows) && !is_aside(id));
        let held = self.holders.keys().filter(|id| !is_aside(id) && !self.rows.contains_key(id));
        let strays: Vec<_> = rows.map(|(id, _)| *id).chain(held.copied()).collect();
        for id in strays {
            self.tell(Problem::Stray, id, "there is no such session, but rows of it".to_owned());
        }
    }

    fn tell(&mut self, problem: Problem, session: SessionId, what: String) {
        let what = format!("{}: {what}", keys::describe(&keys::session(session)));
        self.add(problem, Some(session), what);
    }

    fn add(&mut self, problem: Problem, session: Option<SessionId>, what: String) {
        self.found.sessions.extend(session);
        self.found.report.add(problem, session, what);
    }
}

/// Decode turns, which follow the one of this number without a gap. Returns the number of the last,
/// and how many they are.
fn follow(
    turns: &Turns,
    mut last: Option<u64>,
    may_have_gap: bool,
) -> Result<(Option<u64>, u64), CodecError> {
    let mut count = 0;
    for turn in turns.iter() {
        let (number, turn) = turn?;
        if codec::decode_turn(turn)?.number != number {
            return Err(malformed("a turn has another number"));
        }
        if last.is_some_and(|last| last + 1 != number) && !may_have_gap {
            return Err(CodecError::Malformed(format!(
                "the turns before turn {number} are missing"
            )));
        }
        last = Some(number);
        count += 1;
    }
    Ok((last, count))
}

fn malformed(what: &str) -> CodecError {
    CodecError::Malformed(what.to_owned())
}
