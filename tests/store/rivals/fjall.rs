//! fjall: log-structured merge trees behind one journal.

use std::path::Path;

use anyhow::Result;
use fjall::{Database as Db, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::{CACHE, Database, Groups, Write, row_key};

/// A database.
pub struct Fjall {
    db: Db,
    records: Keyspace,
    snapshots: Keyspace,
    turns: Keyspace,
    events: Keyspace,
}

impl Fjall {
    /// Make one in this directory.
    pub fn open(directory: &Path) -> Result<Fjall> {
        let db = Db::builder(directory).cache_size(CACHE).open()?;
        let keyspace = |name| db.keyspace(name, KeyspaceCreateOptions::default);
        let (records, snapshots) = (keyspace("records")?, keyspace("snapshots")?);
        let (turns, events) = (keyspace("turns")?, keyspace("events")?);
        Ok(Fjall { db, records, snapshots, turns, events })
    }

    fn write(&self, group: &[Write]) -> Result<()> {
        let mut batch = self.db.batch().durability(Some(PersistMode::SyncAll));
        for write in group {
            batch.insert(&self.records, write.session, &write.record[..]);
            batch.insert(&self.snapshots, write.session, &write.snapshot[..]);
            if write.turn > 0 {
                batch.insert(&self.turns, write.row_key(), &write.row[..]);
                batch.insert(&self.events, write.event.to_be_bytes(), &write.told[..]);
            }
        }
        Ok(batch.commit()?)
    }
}

impl Database for Fjall {
    fn serve(&self, groups: Groups) -> Result<()> {
        groups.each(|group| self.write(group))
    }

    fn session(&self, session: [u8; 16]) -> Result<Option<[Vec<u8>; 2]>> {
        let (record, snapshot) = (self.records.get(session)?, self.snapshots.get(session)?);
        Ok(record.zip(snapshot).map(|(record, snapshot)| [record.to_vec(), snapshot.to_vec()]))
    }

    fn row(&self, session: [u8; 16], turn: u32) -> Result<Option<Vec<u8>>> {
        Ok(self.turns.get(row_key(session, turn))?.map(|row| row.to_vec()))
    }
}
