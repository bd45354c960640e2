//! Directories from before agents had owners.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::history::template;
use super::*;
use crate::codec::{self, RecordKind};
use crate::embedded::disk::Disk;
use crate::embedded::engine::{Batch, Class};
use crate::embedded::tables;
use crate::embedded::tables::LAYOUT;
use crate::embedded::tables::sessions::SessionCell;
use crate::embedded::tables::templates::TemplateCell;
use crate::embedded::{keys, recovery, upkeep};
use crate::{AgentQuery, SnapshotDetail, Store, StoreError};
use dormouse_domain::agent::{Agent, AgentOwner};
use dormouse_domain::session::BeforeUpgrade;

/// Sessions of two principals.
const SESSIONS: u64 = 12;

fn owned(by: &str, name: &str, version: &str) -> AgentRef {
    let owner = AgentOwner::Principal(Principal(by.to_owned()));
    AgentRef { owner, ..agent_ref(name, version, name.as_bytes()) }
}

/// All agents, with their components. Two of different owners have the same component.
fn all() -> Vec<(AgentRef, &'static [u8])> {
    let mut memo = owned("ben", "memo", "1");
    memo.digest = Digest::of(b"mine");
    vec![
        (agent_ref("echo", "1", b"echo"), b"echo"),
        (owned("ann", "mine", "1"), b"mine"),
        (owned("ben", "echo", "999"), b"echo"),
        (memo, b"mine"),
    ]
}

/// The agent of a session.
fn serving(number: u64) -> AgentRef {
    let all = all();
    all[usize::try_from(number).expect("it is small") % all.len()].0.clone()
}

/// A directory of layout 3.
async fn third_layout() -> tempfile::TempDir {
    let root = tempfile::tempdir().expect("there is room");
    let store = open(root.path());
    for (reference, component) in all() {
        let agent = Agent { reference, ..agents::agent("x", "1", component) };
        store
            .commit(Transaction::agent(agent, Bytes::from_static(component), Vec::new()))
            .await
            .expect("kept");
    }
    for number in 0..SESSIONS {
        let mut new_one = session(number);
        new_one.profile.agent = serving(number);
        store
            .commit(Transaction::create(new(new_one.clone()), Vec::new()))
            .await
            .expect("it is created");
        let mut commit = turn(&new_one, 10, 10);
        let before = BeforeUpgrade {
            agent: serving(number + 1),
            head: None,
            head_parent: None,
            state_bytes: None,
        };
        Arc::make_mut(&mut commit.session).before_upgrade = (number == 3).then_some(before);
        store.commit(Transaction::turn(commit.clone())).await.expect("it is committed");
        if number < 2 {
            let snapshot = commit.snapshot.expect("it has one");
            let kept =
                store.snapshot(snapshot.id, SnapshotDetail::Metadata).await.expect("it reads");
            let mut warm = template(&format!("warm {number}"), &kept.expect("there").snapshot);
            warm.agent = serving(number);
            store.commit(Transaction::template(warm)).await.expect("it is kept");
        }
    }
    store.close().await.expect("it closes");
    age(root.path());
    root
}

/// Take the owners away, as layout 3 had it.
fn age(root: &Path) {
    let disk = Disk::open(root, &small(), Arc::new(|_| {})).expect("it opens");
    let mut batch = Batch::default();
    let without = |agent: &mut AgentRef| agent.owner = AgentOwner::Host;
    for entry in disk.prefix(&[]) {
        let (key, sealed) = entry.expect("it reads");
        let open = |kind| codec::unseal(kind, &key, &sealed).expect("it is whole").into_owned();
        match key[0] {
            keys::AGENT => {
                let value = open(RecordKind::Agent);
                let (sequence, row) = tables::agents::read_agent(&value).expect("it decodes");
                let agent = codec::decode_agent(row).expect("it decodes").reference;
                let to = tables::agents::agent_without_owner(&agent.name, &agent.version);
                let value = tables::agents::write_agent(sequence, &old_row(row, &agent));
                batch.delete(key.clone());
                batch.put(Class::Rows, to.clone(), codec::seal_as(2, &to, &[&value]));
            }
            keys::SESSION => {
                let mut cell =
                    SessionCell::read(&open(RecordKind::Session).into()).expect("it decodes");
                let mut session = codec::decode_front(&cell.front).expect("it decodes");
                without(&mut session.profile.agent);
                session.before_upgrade.iter_mut().for_each(|before| without(&mut before.agent));
                cell.front = codec::encode_front(&session).into();
                let value = cell.seal(&key);
                let value = codec::seal_as(2, &key, &[&value[codec::OVERHEAD..]]);
                batch.put(SessionCell::class(&cell.front), key.clone(), value);
            }
            keys::TEMPLATE => {
                let value = open(RecordKind::Template);
                let TemplateCell { template, snapshot } =
                    TemplateCell::read(&value).expect("it decodes");
                let outline = codec::decode_snapshot(&snapshot.outline.to_vec().into());
                let template = codec::decode_template(template, outline.expect("it decodes"));
                let mut template = template.expect("it decodes");
                without(&mut template.agent);
                let (row, mut value) = (codec::encode_template(&template), Vec::new());
                TemplateCell { template: &row, snapshot }.write(&mut value);
                batch.put(Class::Rows, key.clone(), codec::seal_as(2, &key, &[&value]));
            }
            _ if &*key == keys::FORMAT => {
                batch.put(Class::Inline, key.clone(), codec::seal_as(2, &key, &[&[3]]));
            }
            _ => {}
        }
    }
    disk.write(batch).expect("it is written");
    drop(disk);
}

/// The row of an agent as format 2 had it: who uploaded it stands beside the reference.
fn old_row(row: &[u8], agent: &AgentRef) -> Vec<u8> {
    let mut decoder = minicbor::Decoder::new(row);
    let fields = decoder.array().expect("a row is an array").expect("of known length");
    decoder.skip().expect("the reference");
    decoder.skip().expect("the uploader");
    let mut old = minicbor::Encoder::new(Vec::new());
    old.array(fields).and_then(|old| old.array(3)).expect("it can be written");
    let (name, version) = (agent.name.as_str(), agent.version.as_str());
    old.str(name).and_then(|old| old.str(version)?.bytes(&agent.digest.0)).expect("it can be");
    match agent.owner.principal() {
        Some(owner) => old.str(&owner.0).map(drop),
        None => old.null().map(drop),
    }
    .expect("it can be written");
    old.writer_mut().extend_from_slice(&row[decoder.position()..]);
    old.into_writer()
}

fn keys_of(root: &Path) -> Vec<(Bytes, Bytes)> {
    let disk = Disk::open(root, &small(), Arc::new(|_| {})).expect("it opens");
    disk.prefix(&[]).map(|entry| entry.expect("it reads")).collect()
}

async fn has_its_owners(root: &Path) {
    let store = open(root);
    for (reference, _) in all() {
        let AgentRef { owner, name, version, .. } = reference.clone();
        let found = store.agent(AgentQuery::Exact(owner, name, version)).await;
        assert_eq!(found.expect("it reads").expect("it is there").reference, reference);
        let in_use = store.commit(Transaction::remove_agent(reference, Vec::new())).await;
        assert!(matches!(in_use, Err(StoreError::AgentInUse(_))), "{in_use:?}");
    }
    for number in 0..SESSIONS {
        let found = store.session(session_id(number)).await.expect("it reads").expect("there");
        assert_eq!(found.profile.agent, serving(number));
        let before = found.before_upgrade.map(|before| before.agent);
        assert_eq!(before, (number == 3).then(|| serving(number + 1)));
    }
    let templates = store.templates(Principal::local()).await.expect("it reads");
    let agents: Vec<_> = templates.into_iter().map(|template| template.agent).collect();
    assert_eq!(agents, [serving(0), serving(1)]);
    store.close().await.expect("it closes");
    assert!(upkeep::check(root, small()).expect("it reads").is_well());
}

#[tokio::test]
async fn each_agent_and_what_refers_to_it_becomes_its_uploaders_and_that_once() {
    let root = third_layout().await;
    let checked = upkeep::check(root.path(), small()).expect("it reads");
    assert!(checked.is_well(), "before it is opened: {:?}", checked.findings);
    has_its_owners(root.path()).await;
    let after = keys_of(root.path());
    has_its_owners(root.path()).await;
    assert!(keys_of(root.path()) == after, "nothing is written again");
}

#[tokio::test]
async fn wherever_it_is_cut_off_it_is_well_and_is_done_at_the_next_start() {
    let whole = third_layout().await;
    has_its_owners(whole.path()).await;
    let should = keys_of(whole.path());
    let mut cuts = 0;
    for sync in 1.. {
        let root = third_layout().await;
        let disk = Disk::open(root.path(), &small(), Arc::new(|_| {})).expect("it opens");
        disk.faults.fail_in.store(sync, Ordering::SeqCst);
        let done = recovery::bring_up(&disk);
        drop(disk);
        let checked = upkeep::check(root.path(), small()).expect("it reads");
        assert!(checked.is_well(), "after {sync} syncs: {:?}", checked.findings);
        has_its_owners(root.path()).await;
        let (is, should) = (keys_of(root.path()), &should);
        assert!(is.iter().map(|(key, _)| key).eq(should.iter().map(|(key, _)| key)), "{sync}");
        if done.is_ok() {
            break;
        }
        cuts += 1;
    }
    assert!(cuts >= 6, "it is written in {cuts} pieces");
}

#[tokio::test]
async fn a_record_that_cannot_be_read_stops_nothing_and_a_repair_gives_it_its_agent() {
    let root = third_layout().await;
    let disk = Disk::open(root.path(), &small(), Arc::new(|_| {})).expect("it opens");
    let (id, key) = (session_id(1), keys::session(session_id(1)));
    // Its owner has uploaded its agent: only then a repair can know whose it is.
    let value = disk.get(&key).expect("it reads").expect("it is there");
    let mut cell = SessionCell::read(&value.slice(codec::OVERHEAD..)).expect("it decodes");
    let mut session = codec::decode_front(&cell.front).expect("it decodes");
    session.owner = Principal("ann".to_owned());
    cell.front = codec::encode_front(&session).into();
    let value = cell.seal(&key);
    let mut batch = Batch::default();
    batch.put(SessionCell::class(&cell.front), key.to_vec(), value.clone());
    disk.write(batch).expect("it is written");
    drop(disk);
    // Its front is in the index, and well; the rest is not.
    let packs = std::fs::read_dir(root.path().join("store/packs")).expect("it reads");
    let mut damaged = 0;
    for pack in packs.map(|pack| pack.expect("it reads").path()) {
        let mut bytes = std::fs::read(&pack).expect("it reads");
        if let Some(at) = bytes.windows(value.len()).position(|window| window == value) {
            bytes[at + value.len() - 1] ^= 1;
            std::fs::write(&pack, bytes).expect("it is written");
            damaged += 1;
        }
    }
    assert_eq!(damaged, 1);

    let store = open(root.path());
    let found = store.session(id).await.expect("it reads").expect("it is there");
    assert_eq!(found.state.reason().map(|reason| reason.0.as_str()), Some("record_damaged"));
    let other = store.session(session_id(5)).await.expect("it reads").expect("it is there");
    assert_eq!(other.profile.agent, serving(5));
    store.close().await.expect("it closes");
    let repaired = upkeep::repair(root.path(), small()).expect("it is done");
    assert!(repaired.left.is_empty(), "{:?}", repaired.left);
    let store = open(root.path());
    let found = store.session(id).await.expect("it reads").expect("it is there");
    assert_eq!(found.profile.agent, serving(1));
    store.close().await.expect("it closes");
    assert!(upkeep::check(root.path(), small()).expect("it reads").is_well());
}

#[tokio::test]
async fn a_repair_of_an_earlier_layout_brings_it_to_the_present_one() {
    let root = third_layout().await;
    let disk = Disk::open(root.path(), &small(), Arc::new(|_| {})).expect("it opens");
    let mut batch = Batch::default();
    let snapshot = disk.fronts(&keys::rows(session_id(2))).next().expect("it has one");
    batch.put(Class::Rows, snapshot.expect("it reads").0, "nothing");
    disk.write(batch).expect("it is written");
    drop(disk);
    let repaired = upkeep::repair(root.path(), small()).expect("it is done");
    assert!(repaired.left.is_empty(), "{:?}", repaired.left);
    let changed: Vec<_> = repaired.sessions.iter().map(|repaired| repaired.session).collect();
    assert_eq!(changed, [session_id(2)]);
    has_its_owners(root.path()).await;
}

/// Give a key a value, whatever it says.
fn set(root: &Path, key: &[u8], value: Vec<u8>) {
    let disk = Disk::open(root, &small(), Arc::new(|_| {})).expect("it opens");
    let mut batch = Batch::default();
    batch.put(Class::Inline, key.to_vec(), value);
    disk.write(batch).expect("it is written");
    drop(disk);
}

#[tokio::test]
async fn what_a_later_host_has_written_is_refused_by_all_and_by_none_taken_for_damage() {
    let root = third_layout().await;
    let next = LAYOUT + 1;
    let layout = codec::seal(keys::FORMAT, &[&[next]]);
    let format = codec::seal_as(codec::VERSION + 1, keys::FORMAT, &[&[next]]);
    let why = format!("its layout is {next}; this one reads up to {LAYOUT}");
    let event = keys::events(dormouse_domain::event::Cursor(99));
    let newer = codec::seal_as(codec::VERSION + 1, &event, &[b"from tomorrow"]);
    for (key, value, why) in [
        (keys::FORMAT, layout, why.as_str()),
        (
            keys::FORMAT,
            format,
            "it was written by a newer Dormouse (format 4; this one reads up to 3)",
        ),
        (&event[..], newer, "events/99: it was written by a newer Dormouse"),
    ] {
        let is_of_a_value = key != keys::FORMAT;
        set(root.path(), key, value);
        let before = keys_of(root.path());
        let is_refused = |refused: String| {
            let text = format!("the data directory was written by a newer Dormouse: {why}");
            assert!(refused.starts_with(&text), "{refused}");
        };
        is_refused(upkeep::check(root.path(), small()).expect_err("refused").to_string());
        is_refused(upkeep::repair(root.path(), small()).expect_err("refused").to_string());
        if is_of_a_value {
            break;
        }
        is_refused(upkeep::stat(root.path(), small()).expect_err("refused").to_string());
        let opened = Embedded::open(root.path(), small());
        is_refused(opened.expect_err("it is refused").to_string());
        assert!(keys_of(root.path()) == before, "nothing has changed");
        set(root.path(), keys::FORMAT, codec::seal(keys::FORMAT, &[&[3]]));
    }
}

#[tokio::test]
async fn a_directory_that_lacks_keys_alone_becomes_the_present_one_and_nothing_is_written_anew() {
    let root = tempfile::tempdir().expect("there is room");
    let store = open(root.path());
    let first = session(1);
    store.commit(Transaction::create(new(first.clone()), Vec::new())).await.expect("it is made");
    store.close().await.expect("it closes");
    let before = keys_of(root.path());
    for earlier in [6, 7] {
        set(root.path(), keys::FORMAT, codec::seal(keys::FORMAT, &[&[earlier]]));
        let store = open(root.path());
        assert_eq!(store.session(first.id).await.expect("it reads").as_ref(), Some(&first));
        store.close().await.expect("it closes");
        let now = keys_of(root.path());
        assert_eq!(now, before, "the layout is the present one, and the rest is as it was");
    }
}
