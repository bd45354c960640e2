//! SQLite with its write-ahead log.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use rusqlite::{Connection, OptionalExtension, Statement, params};

use super::{CACHE, Database, Groups, Write};

const TABLES: &str = "
    CREATE TABLE records (session BLOB PRIMARY KEY, record BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE snapshots (session BLOB PRIMARY KEY, state BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE turns (session BLOB, number INTEGER, turn BLOB NOT NULL,
                        PRIMARY KEY (session, number)) WITHOUT ROWID;
    CREATE TABLE events (place INTEGER PRIMARY KEY, event BLOB NOT NULL);
";

/// A database: one connection that writes, and one that reads.
pub struct Sqlite {
    writer: Mutex<Connection>,
    reader: Mutex<Connection>,
}

impl Sqlite {
    /// Make one in this directory.
    pub fn open(directory: &Path) -> Result<Sqlite> {
        std::fs::create_dir_all(directory)?;
        let file = directory.join("sqlite");
        let writer = Connection::open(&file)?;
        writer.pragma_update(None, "journal_mode", "WAL")?;
        writer.pragma_update(None, "synchronous", "FULL")?;
        // In KiB, where it is negative.
        writer.pragma_update(None, "cache_size", -i64::try_from(CACHE >> 10)?)?;
        writer.execute_batch(TABLES)?;
        let reader = Connection::open(&file)?;
        Ok(Sqlite { writer: Mutex::new(writer), reader: Mutex::new(reader) })
    }
}

impl Database for Sqlite {
    fn serve(&self, groups: Groups) -> Result<()> {
        let connection = held(&self.writer);
        let mut statements = Statements::prepare(&connection)?;
        groups.each(|group| statements.write(group))
    }

    fn session(&self, session: [u8; 16]) -> Result<Option<[Vec<u8>; 2]>> {
        let connection = held(&self.reader);
        let mut found = connection.prepare(
            "SELECT record, state FROM records JOIN snapshots USING (session) WHERE session = ?1",
        )?;
        let found = found.query_row([&session[..]], |row| Ok([row.get(0)?, row.get(1)?]));
        Ok(found.optional()?)
    }

    fn row(&self, session: [u8; 16], turn: u32) -> Result<Option<Vec<u8>>> {
        let connection = held(&self.reader);
        let mut found =
            connection.prepare("SELECT turn FROM turns WHERE session = ?1 AND number = ?2")?;
        Ok(found.query_row(params![&session[..], turn], |row| row.get(0)).optional()?)
    }
}

/// What writes, prepared once.
struct Statements<'a> {
    begin: Statement<'a>,
    record: Statement<'a>,
    snapshot: Statement<'a>,
    turn: Statement<'a>,
    event: Statement<'a>,
    commit: Statement<'a>,
}

impl Statements<'_> {
    fn prepare(connection: &Connection) -> Result<Statements<'_>> {
        Ok(Statements {
            begin: connection.prepare("BEGIN IMMEDIATE")?,
            record: connection.prepare("INSERT OR REPLACE INTO records VALUES (?1, ?2)")?,
            snapshot: connection.prepare("INSERT OR REPLACE INTO snapshots VALUES (?1, ?2)")?,
            turn: connection.prepare("INSERT INTO turns VALUES (?1, ?2, ?3)")?,
            event: connection.prepare("INSERT INTO events VALUES (?1, ?2)")?,
            commit: connection.prepare("COMMIT")?,
        })
    }

    fn write(&mut self, group: &[Write]) -> Result<()> {
        self.begin.execute([])?;
        for write in group {
            self.record.execute(params![&write.session[..], &write.record[..]])?;
            self.snapshot.execute(params![&write.session[..], &write.snapshot[..]])?;
            if write.turn > 0 {
                self.turn.execute(params![&write.session[..], write.turn, &write.row[..]])?;
                self.event.execute(params![i64::try_from(write.event)?, &write.told[..]])?;
            }
        }
        self.commit.execute([])?;
        Ok(())
    }
}

fn held(connection: &Mutex<Connection>) -> MutexGuard<'_, Connection> {
    connection.lock().unwrap_or_else(PoisonError::into_inner)
}
