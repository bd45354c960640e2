//! sled as it comes, with a key for each thing and a sync of its own.

use std::fs::File;
use std::path::Path;

use anyhow::Result;
use sled::{Batch, Config, Db};

use super::{CACHE, Database, Groups, Write, row_key};
use crate::world::RECORD;

/// Changes of so many sessions are applied at once: sled holds a lock over all of itself meanwhile.
const BATCH: usize = 256;

/// A database.
pub struct Sled {
    db: Db,
    /// What sled's own flush does not sync as a power failure needs it.
    file: File,
}

impl Sled {
    /// Make one in this directory.
    pub fn open(directory: &Path) -> Result<Sled> {
        // Nothing is written that is not flushed below.
        let db = Config::new().path(directory).cache_capacity(CACHE).flush_every_ms(None).open()?;
        let file = File::open(directory.join("db"))?;
        Ok(Sled { db, file })
    }
}

impl Sled {
    fn write(&self, group: &[Write]) -> Result<()> {
        for part in group.chunks(BATCH) {
            let mut batch = Batch::default();
            for write in part {
                let session = [&write.record[..], &write.snapshot].concat();
                batch.insert(&prefixed(b's', &write.session)[..], session);
                if write.turn > 0 {
                    batch.insert(&prefixed(b't', &write.row_key())[..], &write.row[..]);
                    batch.insert(&prefixed(b'e', &write.event.to_be_bytes())[..], &write.told[..]);
                }
            }
            self.db.apply_batch(batch)?;
        }
        self.db.flush()?;
        Ok(self.file.sync_all()?)
    }
}

impl Database for Sled {
    fn serve(&self, groups: Groups) -> Result<()> {
        groups.each(|group| self.write(group))
    }

    fn session(&self, session: [u8; 16]) -> Result<Option<[Vec<u8>; 2]>> {
        let found = self.db.get(prefixed(b's', &session))?;
        Ok(found.map(|found| [found[..RECORD].to_vec(), found[RECORD..].to_vec()]))
    }

    fn row(&self, session: [u8; 16], turn: u32) -> Result<Option<Vec<u8>>> {
        let found = self.db.get(prefixed(b't', &row_key(session, turn)))?;
        Ok(found.map(|found| found.to_vec()))
    }
}

fn prefixed(prefix: u8, key: &[u8]) -> Vec<u8> {
    [&[prefix], key].concat()
}
