//! Writes directories of the layouts before the engine, as the versions of that time did.

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use minicbor::Encoder;

use super::super::*;
use crate::codec::{self, Kind};
use crate::embedded::blob::{self, BlobId};
use crate::embedded::cell::{self, SessionCell, Turns};
use crate::embedded::disk::Disk;
use crate::embedded::keys;

/// What a value had at most of a body, a turn, an event and an agent: what was larger had a file.
const BODY: usize = 8 << 10;
const TURN: usize = 24 << 10;
const EVENT: usize = 8 << 10;
const AGENT: usize = 24 << 10;

/// An old directory.
pub(super) struct Plain {
    pub(super) db: sled::Db,
    root: std::path::PathBuf,
    layout: u8,
    files: u64,
}

impl Plain {
    /// Make one, or open it.
    pub(super) fn open(root: &Path, layout: u8) -> Plain {
        for folder in ["values", "components"] {
            std::fs::create_dir_all(root.join(folder)).expect("it is made");
        }
        let config = sled::Config::new().path(root.join("sled")).segment_size(4 << 20);
        let config = config.cache_capacity(8 << 20);
        // A child of another test that is just being started may have the lock for a moment.
        let db = (0..200).find_map(|_| {
            let opened = config.open().ok();
            if opened.is_none() {
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            opened
        });
        let db = db.expect("sled opens");
        let plain = Plain { db, root: root.to_owned(), layout, files: 1 };
        plain.put(keys::FORMAT, &[layout]);
        plain
    }

    /// Give a key a value.
    pub(super) fn put(&self, key: &[u8], value: &[u8]) {
        self.set(key, codec::seal_as(self.layout, key, &[value]));
    }

    /// The same with an envelope that is there already.
    pub(super) fn set(&self, key: &[u8], sealed: Vec<u8>) {
        self.db.insert(key, sealed).expect("it is written");
    }

    /// The only value under keys that begin so, with this in it.
    pub(super) fn find(&self, prefix: &[u8], with: impl Fn(&[u8], &[u8]) -> bool) -> Vec<u8> {
        let entries = self.db.scan_prefix(prefix).map(|entry| entry.expect("it reads"));
        let mut found = entries.filter(|(key, value)| with(key, value));
        let (key, _) = found.next().expect("there is one");
        assert!(found.next().is_none(), "there is only one");
        key.to_vec()
    }

    fn file(&mut self, owner: &str, bytes: &[u8]) -> String {
        let name = format!("{owner}-{:016x}", self.files);
        self.files += 1;
        let sealed = codec::seal_as(self.layout, name.as_bytes(), &[bytes]);
        std::fs::write(self.root.join("values").join(&name), sealed).expect("it is written");
        self.put(&[b"v", name.as_bytes()].concat(), &[]);
        name
    }

    /// Bytes in a value, or in a file.
    pub(super) fn part(&mut self, owner: &str, bytes: &[u8], limit: usize) -> Vec<u8> {
        if bytes.len() <= limit {
            return [&[0], bytes].concat();
        }
        [&[1], self.file(owner, bytes).as_bytes()].concat()
    }

    /// A session of layout 1, with its only snapshot, of which `head` is the part.
    pub(super) fn first(&mut self, session: &Session, head: &[u8]) {
        let (front, body) = (codec::encode_front(session), codec::encode_body(session));
        let body = self.part(&owner(session.id), &body, BODY);
        let id = session.head.map_or(Vec::new(), |head| head.0.as_bytes().to_vec());
        let value = [framed(&front), framed(&body), id, head.to_vec()].concat();
        self.put(&keys::session(session.id), &value);
    }
}

/// A snapshot as layout 1 wrote it, with its data.
pub(super) fn row_with_data(snapshot: &Snapshot) -> Vec<u8> {
    let mut row = Encoder::new(Vec::new());
    row.array(8).and_then(|row| row.bytes(snapshot.id.0.as_bytes())).expect("it can be written");
    match snapshot.parent {
        Some(parent) => row.bytes(parent.0.as_bytes()).map(drop),
        None => row.null().map(drop),
    }
    .expect("it can be written");
    row.u64(snapshot.turn)
        .and_then(|row| row.bytes(&snapshot.agent.0))
        .and_then(|row| row.i64(snapshot.taken_at.0))
        .and_then(|row| row.u64(snapshot.monotonic_ns))
        .and_then(|row| row.u64(snapshot.turn))
        .expect("it can be written");
    match &snapshot.state {
        GuestState::Portable { version, data } => row
            .array(2)
            .and_then(|row| row.u32(0)?.array(2)?.u32(*version)?.bytes(data))
            .expect("it can be written"),
        GuestState::Image { data, .. } => row
            .array(2)
            .and_then(|row| row.u32(1)?.array(1)?.bytes(data))
            .expect("it can be written"),
    };
    row.into_writer()
}

/// Write everything that the store at `from` has to `to`, as layout 2 had it.
pub(super) fn age(from: &Path, to: &Path) {
    let disk = Disk::open(from, &small(), Arc::new(|_| {})).expect("it opens");
    let mut plain = Plain::open(to, 2);
    let mut uses = BTreeMap::new();
    for (key, sealed) in everything(&disk) {
        let open = |kind| codec::unseal(kind, &key, &sealed).expect("it is whole").into_owned();
        match key[0] {
            keys::SESSION => plain.session(&key, &open(Kind::Session).into()),
            b'r' if key[17] == b't' => {
                plain.turns(&key[..18], &Turns::read(&open(Kind::Turn)).expect("it decodes"));
            }
            b'r' if key[17] == b'e' => {
                let row = open(Kind::Places);
                plain.places(&key[..18], &cell::Places::read(&row).expect("it decodes"));
            }
            keys::EVENTS => plain.events(&key, &open(Kind::Events)),
            keys::AGENT => {
                let value = open(Kind::Agent);
                let (sequence, agent_row) = cell::read_agent(&value).expect("it decodes");
                let agent = plain.part("agents", agent_row, AGENT);
                let reference = codec::decode_agent(agent_row).expect("it decodes").reference;
                let key = keys::agent_without_owner(&reference.name, &reference.version);
                plain.put(&key, &[&sequence.to_le_bytes(), &agent[..]].concat());
            }
            keys::COMPONENT => {
                let digest = Digest(key[1..].try_into().expect("it is a digest"));
                let path = to.join("components").join(format!("{digest}.wasm"));
                std::fs::write(path, &sealed).expect("it is written");
            }
            keys::BLOB => {
                let count = blob::read_uses(&open(Kind::Note)).expect("it decodes");
                uses.insert(key[1..].to_vec(), count);
            }
            keys::CONTENT => {
                let count = uses.remove(&key[1..]).expect("it is counted");
                plain.blob(&key[1..], &sealed, count);
            }
            _ if &*key == keys::FORMAT => {}
            // In the same form.
            _ => plain.set(&key, sealed),
        }
    }
    assert!(uses.is_empty());
    plain.db.flush().expect("it is written");
}

impl Plain {
    fn session(&mut self, key: &[u8], value: &Bytes) {
        let cell = SessionCell::read(value).expect("it decodes");
        let id = keys::session_of(keys::SESSION, key).expect("it is a session");
        let body = self.part(&owner(id), &cell.body, BODY);
        let names: Vec<u8> =
            cell.snapshots.iter().flat_map(|kept| kept.id.0.into_bytes()).collect();
        self.put(key, &[framed(&cell.front), framed(&body), framed(&names)].concat());
        self.turns(&keys::turns(id), &cell.turns);
        self.places(&keys::places(id), &cell.places);
    }

    fn turns(&mut self, prefix: &[u8], turns: &Turns) {
        let id = SessionId(Uuid::from_slice(&prefix[1..17]).expect("it is an id"));
        for turn in turns.iter() {
            let (number, turn) = turn.expect("it decodes");
            let part = self.part(&owner(id), turn, TURN);
            self.put(&[prefix, &number.to_be_bytes()].concat(), &part);
        }
    }

    fn places(&mut self, prefix: &[u8], places: &cell::Places) {
        for cell::Place { last, count } in places.iter() {
            let count = u64::from(count).to_le_bytes();
            self.put(&[prefix, &last.to_be_bytes()].concat(), &count);
        }
    }

    /// Each second event began a piece.
    fn events(&mut self, key: &[u8], piece: &[u8]) {
        let events = cell::read_events(piece).expect("it decodes");
        let first = keys::number(key).expect("it has a cursor") + 1 - events.len() as u64;
        for (some, at) in events.chunks(2).zip(0..) {
            let last = first + 2 * at + some.len() as u64 - 1;
            let parts = some.iter().map(|event| framed(&self.part("log", event, EVENT)));
            let piece = parts.collect::<Vec<_>>().concat();
            self.put(&keys::events(dormouse_domain::event::Cursor(last)), &piece);
        }
    }

    /// A blob behind another one in a file.
    fn blob(&mut self, name: &[u8], bytes: &[u8], uses: u64) {
        let key = [&[keys::BLOB], name].concat();
        let file = format!("blobs-{:016x}", self.files);
        self.files += 1;
        let sealed = codec::seal(&key, &[bytes]);
        let content = [vec![7; 100], sealed.clone()].concat();
        std::fs::write(self.root.join("values").join(&file), content).expect("it is written");
        self.put(&[b"v", file.as_bytes()].concat(), &1_u64.to_le_bytes());
        let numbers = [uses, 100, sealed.len() as u64].map(u64::to_le_bytes).concat();
        self.put(&key, &[&numbers, file.as_bytes()].concat());
    }

    /// Flip a bit of a blob.
    pub(super) fn damage_blob(&self, id: &BlobId) {
        let value = self.db.get(keys::blob(id)).expect("it reads").expect("it is there");
        let name = std::str::from_utf8(&value[codec::OVERHEAD + 24..]).expect("it is a name");
        let path = self.root.join("values").join(name);
        let file = std::fs::File::options().write(true).open(path).expect("it opens");
        file.write_all_at(&[0], 100 + 40).expect("it is written");
    }
}

/// All keys with their values.
pub(super) fn everything(disk: &Disk) -> Vec<(Vec<u8>, Vec<u8>)> {
    let entries = disk.prefix(&[]).map(|entry| entry.expect("it reads"));
    entries.map(|(key, value)| (key.to_vec(), value.to_vec())).collect()
}

pub(super) fn owner(id: SessionId) -> String {
    id.0.simple().to_string()
}

fn framed(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).expect("it is small").to_le_bytes();
    [&length, bytes].concat()
}
