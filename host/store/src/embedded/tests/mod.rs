//! Tests of the whole store, over real files.

pub(super) mod faults;

mod accounts;
mod agents;
mod audit;
mod conformance;
mod damage;
mod durability;
mod files;
mod history;
mod journal;
mod labels;
mod large;
mod lists;
mod mail;
mod owners;
mod readers;
mod retention;
mod sharing;
mod space;
mod statistics;
mod upkeep;

use std::path::Path;

use bytes::Bytes;
use uuid::Uuid;

use super::{Embedded, EmbeddedShared, Options, Retention, held};
use crate::conformance::examples::{
    agent_ref, creation_of, event, most, new, next, session, session_id, turn, uuid,
};
use crate::read::{ReadAgents, ReadEvents, ReadSessions, ReadSnapshots, ReadTemplates, ReadTurns};
use crate::upkeep::Upkeep;
use crate::{NewSessionRecord, Transaction, TurnCommit};
use dormouse_domain::agent::{AgentOwner, AgentRef, Digest};
use dormouse_domain::event::{Event, EventBody};
use dormouse_domain::id::{Principal, SessionId, SnapshotId};
use dormouse_domain::session::Session;
use dormouse_domain::snapshot::{GuestState, Snapshot};
use dormouse_domain::template::Template;
use dormouse_domain::time::Timestamp;

/// With little memory, and a small log.
pub(super) fn small() -> Options {
    Options {
        cache_bytes: 8 << 20,
        overlay_bytes: 8 << 20,
        log_bytes: 16 << 20,
        slot_bytes: 4 << 20,
        ..Options::default()
    }
}

/// The same, keeping so many snapshots of each session.
fn keeping_snapshots(snapshots: usize) -> Options {
    Options { retention: Retention { snapshots, ..Retention::default() }, ..small() }
}

/// A store in this directory.
pub(super) fn open(root: &Path) -> Embedded {
    try_open(root).expect("it opens")
}

fn try_open(root: &Path) -> Result<Embedded, super::OpenError> {
    Embedded::open(root, small())
}

fn temporary() -> Embedded {
    Embedded::temporary(small()).expect("it opens")
}

/// What is inside.
fn inside(store: &Embedded) -> std::sync::Arc<EmbeddedShared> {
    held(&store.shared).clone().expect("it is open")
}
