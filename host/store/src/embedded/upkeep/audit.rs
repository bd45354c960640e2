//! Whether everything decodes, refers to what is there, and is counted right.
//!
//! The engine shows all keys of one moment, in order, each once, and each is looked at by the table that has
//! it. So of what has been seen, a table only keeps as much as what comes later is compared with: about
//! 150 bytes for a session and 150 for a blob, its edges among them. The snapshots of a session are compared by their number and
//! by the sum of their names.

use std::any::{Any, TypeId};
use std::collections::{BTreeSet, HashMap};
use std::io;

use bytes::Bytes;

use super::super::disk::Disk;
use super::super::keys;
use super::super::tables::{self, TABLES};
use crate::StoreError;
use crate::codec::CodecError;
use crate::upkeep::{CheckReport, Problem};
use dormouse_domain::id::SessionId;

/// What is wrong, for the repair.
#[derive(Default)]
pub(in super::super) struct Audited {
    /// What is told.
    pub(super) report: CheckReport,
    /// The sessions of which something is wrong.
    pub(super) sessions: BTreeSet<SessionId>,
    /// The keys of what is of no use, apart from what is a part of something.
    pub(super) useless: Vec<Vec<u8>>,
    /// The first value that a later version has written: it is not damaged, and all that is said of the
    /// others may be wrong.
    pub(super) newer: Option<String>,
    /// What tables have left of what they have seen.
    seen: HashMap<TypeId, Box<dyn Any>>,
}

impl Audited {
    /// What a table has left for its repair.
    pub(in super::super) fn found<T: 'static>(&self) -> Option<&T> {
        self.seen.get(&TypeId::of::<T>())?.downcast_ref()
    }
}

/// What has been seen, and what is wrong with it.
pub(in super::super) struct Audit {
    found: Audited,
    /// Whether all keys are of one moment. Where they are not, only damage is told.
    exact: bool,
    /// How many values could not be read.
    unreadable: u64,
}

impl Audit {
    /// Nothing has been seen.
    pub(super) fn new(exact: bool) -> Audit {
        Audit { found: Audited::default(), exact, unreadable: 0 }
    }

    /// See a key with its value, or why that cannot be read.
    pub(super) fn see(&mut self, key: &[u8], value: Result<Bytes, &'static str>) {
        let table = tables::of(key);
        let seen = match (value, table) {
            (Ok(value), Some(table)) => table.check(self, key, &value),
            (Ok(_), None) => Err(CodecError::Malformed("nobody has written this".to_owned())),
            (Err(what), _) => {
                self.unreadable += 1;
                Err(CodecError::Malformed(what.to_owned()))
            }
        };
        let Err(error) = seen else { return };
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
        if !table.is_some_and(|table| table.is_part()) {
            self.is_useless(key.to_vec());
        }
    }

    /// How many values could not be read.
    pub(super) fn unreadable(&self) -> u64 {
        self.unreadable
    }

    /// Say what is wrong, now that everything has been seen.
    pub(super) fn finish(mut self) -> Audited {
        if self.exact {
            TABLES.iter().for_each(|table| table.compare(&mut self));
        }
        self.found
    }

    /// What a key that cannot be read does not tell.
    pub(super) fn lose(&mut self, key: &[u8]) {
        if let Some(table) = tables::of(key) {
            table.lose(self, key);
        }
    }

    /// Whether all keys are of one moment.
    pub(in super::super) fn is_exact(&self) -> bool {
        self.exact
    }

    /// What a table keeps of what it has seen.
    pub(in super::super) fn seen<T: Default + 'static>(&mut self) -> &mut T {
        let seen = self.found.seen.entry(TypeId::of::<T>());
        let seen = seen.or_insert_with(|| Box::new(T::default())).downcast_mut();
        seen.expect("it is of the type that it is kept by")
    }

    /// What is told.
    pub(in super::super) fn report(&mut self) -> &mut CheckReport {
        &mut self.found.report
    }

    /// Tell what is wrong with a session.
    pub(in super::super) fn tell(&mut self, problem: Problem, session: SessionId, what: String) {
        let what = format!("{}: {what}", keys::describe(&keys::session(session)));
        self.add(problem, Some(session), what);
    }

    /// Tell what is wrong.
    pub(in super::super) fn add(
        &mut self,
        problem: Problem,
        session: Option<SessionId>,
        what: String,
    ) {
        self.found.sessions.extend(session);
        self.found.report.add(problem, session, what);
    }

    /// A repair is to take out what is under this key.
    pub(in super::super) fn is_useless(&mut self, key: Vec<u8>) {
        self.found.useless.push(key);
    }
}

/// Check everything, to the end.
pub(in super::super) fn of(disk: &Disk) -> Result<Audited, StoreError> {
    until(disk, &|| false)
}

/// Check everything, until `is_over` says that nobody waits for it any more.
pub(super) fn until(disk: &Disk, is_over: &dyn Fn() -> bool) -> Result<Audited, StoreError> {
    let mut audit = Audit::new(true);
    let report = disk.engine().check(&mut |key, value| {
        audit.see(key, value);
        !is_over()
    });
    let report = report.map_err(|error| match error.kind() {
        io::ErrorKind::Interrupted => StoreError::Closed,
        io::ErrorKind::StorageFull => StoreError::Full,
        _ => StoreError::Io(error.to_string().into()),
    })?;
    Ok(super::finish(audit, report))
}
