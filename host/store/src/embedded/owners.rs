//! Agents get owners: from layout 3 to layout 4, the first that had them.
//!
//! In layout 3 a name and a version were one agent, whoever had uploaded it, and sessions and templates
//! referred to it by these. Now each agent is its uploader's, or the host's, and so is each reference
//! to it. What refers to an agent of the host is right as it is.
//!
//! ```text
//!  agents ─▶ who owns each name and version
//!  sessions, templates ─▶ written anew where they refer to one that was uploaded, some at a time
//!  agents ─▶ to their new keys, some at a time
//!  the layout is the next one
//! ```
//! Each batch leaves a directory of layout 3 that can be read, with each agent under its old key or
//! under its new one; the last batch sets the layout. So a crash at any moment costs time, and it is
//! begun again. A record that cannot be read stays as it is.

use std::collections::HashMap;

use bytes::Bytes;

use super::disk::{Disk, ReadExtent};
use super::engine::{Batch, Class};
use super::tables::sessions::SessionCell;
use super::tables::templates::TemplateCell;
use super::tables::{agents, sessions};
use super::{OpenError, keys};
use crate::codec::{self, CodecError, RecordKind};
use dormouse_domain::agent::{Agent, AgentName, AgentOwner, AgentRef, Version};

/// A batch is written when it has this many bytes, about.
const BATCH: usize = if cfg!(test) { 500 } else { 1 << 20 };

/// Give each agent, and each reference to one, its owner; and then the directory this layout.
pub(super) fn give(disk: &Disk, layout: u8) -> Result<(), OpenError> {
    let mut giver = Giver { disk, owners: owners(disk)?, batch: Batch::default(), written: 0 };
    giver.sessions()?;
    giver.templates()?;
    giver.agents()?;
    let note = codec::seal(keys::FORMAT, &[&[layout]]);
    giver.batch.put(Class::Inline, keys::FORMAT, note);
    giver.flush()?;
    tracing::info!(
        agents = giver.owners.len(),
        written = giver.written,
        "the data directory was written before agents had owners: each belongs to its uploader now"
    );
    Ok(())
}

/// The owners of the agents that references without an owner mean.
pub(super) type Owners = HashMap<(AgentName, Version), AgentOwner>;

/// Whose the agent of each name and version is.
fn owners(disk: &Disk) -> Result<Owners, OpenError> {
    let mut owners = Owners::new();
    for entry in disk.walk(&[keys::AGENT], ReadExtent::Whole) {
        let (key, Some(value)) = entry? else { continue };
        if let Ok((_, agent)) = agent(&key, &value) {
            let AgentRef { owner, name, version, .. } = agent.reference;
            owners.insert((name, version), owner);
        }
    }
    Ok(owners)
}

/// The place of an agent in the order of upload, and what it is.
fn agent(key: &[u8], value: &[u8]) -> Result<(u64, Agent), CodecError> {
    let value = codec::unseal(RecordKind::Agent, key, value)?;
    let (sequence, row) = agents::read_agent(&value)?;
    Ok((sequence, codec::decode_agent(row)?))
}

struct Giver<'a> {
    disk: &'a Disk,
    owners: Owners,
    batch: Batch,
    written: u64,
}

impl Giver<'_> {
    fn sessions(&mut self) -> Result<(), OpenError> {
        for entry in self.disk.walk(&[keys::SESSION], ReadExtent::Whole) {
            let (key, Some(value)) = entry? else { continue };
            if let Some(value) = known(&key, self.session(&key, &value))? {
                self.put(SessionCell::class(&value.0), &key, value.1)?;
            }
        }
        Ok(())
    }

    /// The front and the value of a session, where it has to be written anew.
    fn session(&self, key: &[u8], value: &Bytes) -> Result<Option<(Bytes, Vec<u8>)>, CodecError> {
        let value = Bytes::from(codec::unseal(RecordKind::Session, key, value)?.into_owned());
        let mut cell = SessionCell::read(&value)?;
        let mut session = codec::decode_front(&cell.front)?;
        let mut is_other = self.give(&mut session.profile.agent);
        if let Some(before) = &mut session.before_upgrade {
            is_other |= self.give(&mut before.agent);
        }
        let front = codec::encode_front(&session);
        if !is_other || front.len() > sessions::FRONT {
            return Ok(None);
        }
        cell.front = front.into();
        Ok(Some((cell.front.clone(), cell.seal(key))))
    }

    fn templates(&mut self) -> Result<(), OpenError> {
        for entry in self.disk.walk(&[keys::TEMPLATE], ReadExtent::Whole) {
            let (key, Some(value)) = entry? else { continue };
            if let Some(value) = known(&key, self.template(&key, &value))? {
                self.put(Class::Rows, &key, value)?;
            }
        }
        Ok(())
    }

    /// The value of a template, where it has to be written anew.
    fn template(&self, key: &[u8], value: &[u8]) -> Result<Option<Vec<u8>>, CodecError> {
        let value = codec::unseal(RecordKind::Template, key, value)?;
        let TemplateCell { template, snapshot } = TemplateCell::read(&value)?;
        let outline = codec::decode_snapshot(&Bytes::copy_from_slice(snapshot.outline))?;
        let mut template = codec::decode_template(template, outline)?;
        if !self.give(&mut template.agent) {
            return Ok(None);
        }
        let row = codec::encode_template(&template);
        let mut value = Vec::new();
        TemplateCell { template: &row, snapshot }.write(&mut value);
        Ok(Some(codec::seal(key, &[&value])))
    }

    fn agents(&mut self) -> Result<(), OpenError> {
        for entry in self.disk.walk(&[keys::AGENT], ReadExtent::Whole) {
            let (key, Some(value)) = entry? else { continue };
            let read = agent(&key, &value).map(Some);
            let Some((sequence, agent)) = known(&key, read)? else { continue };
            let to = keys::agent(&agent.reference);
            if to != key {
                let value = agents::write_agent(sequence, &codec::encode_agent(&agent));
                self.batch.delete(key);
                self.put(Class::Rows, &to, codec::seal(&to, &[&value]))?;
            }
        }
        Ok(())
    }

    /// Give a reference the owner that its agent has. Returns whether it had another.
    fn give(&self, agent: &mut AgentRef) -> bool {
        match self.owners.get(&(agent.name.clone(), agent.version.clone())) {
            Some(owner) if *owner != agent.owner => {
                agent.owner = owner.clone();
                true
            }
            Some(_) | None => false,
        }
    }

    fn put(&mut self, class: Class, key: &[u8], value: Vec<u8>) -> Result<(), OpenError> {
        self.batch.put(class, key.to_vec(), value);
        self.written += 1;
        if self.batch.size() > BATCH { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), OpenError> {
        let batch = std::mem::take(&mut self.batch);
        if batch.is_empty() { Ok(()) } else { Ok(self.disk.write(batch)?) }
    }
}

/// What has been read. What is damaged stays as it is: it is set aside, or found, as always.
pub(super) fn known<T>(
    key: &[u8],
    read: Result<Option<T>, CodecError>,
) -> Result<Option<T>, OpenError> {
    match read {
        Ok(found) => Ok(found),
        Err(error @ CodecError::Newer(_)) => {
            Err(OpenError::NewerFormat(format!("{}: {error}", keys::describe(key))))
        }
        Err(CodecError::Checksum | CodecError::Malformed(_)) => Ok(None),
    }
}
