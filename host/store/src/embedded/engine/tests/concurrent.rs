//! Readers beside a committer and an applier that never rests: what they see is of one moment.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use bytes::Bytes;

use super::super::batch::{Batch, Class};
use super::super::{Engine, EngineOptions};
use super::{real, small};

const KEYS: u64 = 40;
const COMMITS: u64 = 600;

fn options() -> EngineOptions {
    EngineOptions { interval: std::time::Duration::from_millis(1), ..small() }
}

/// All keys get the number of the commit; odd ones have the keys twice as long.
fn batch(engine: &Engine, number: u64) -> Batch {
    let mut batch = Batch::default();
    for i in 0..KEYS {
        let key = Bytes::from(format!("key/{i:03}"));
        let value = number.to_le_bytes().repeat(1 + (i as usize * 7) % 60);
        match i % 4 {
            0 => batch.put(Class::Inline, key, value),
            1 => batch.put(Class::Head, key, value),
            2 => batch.put(Class::Rows, key, value),
            _ if i == 3 && number.is_multiple_of(16) => {
                let other = (Bytes::from("other"), Bytes::from(vec![9; 3000]));
                let staged = engine.stage(&[other, (key.clone(), value.into())]).unwrap();
                batch.put_staged(staged, |staged| staged == key);
            }
            _ => batch.put(Class::Head, key, value),
        }
    }
    // One that comes and goes.
    if number.is_multiple_of(2) {
        batch.delete("key/even");
    } else {
        batch.put(Class::Head, "key/even", number.to_le_bytes().to_vec());
    }
    batch
}

/// Every value of a run must be of the same commit, and no older than what was seen before.
fn read(engine: &Engine, least: u64) -> u64 {
    let found: Vec<_> = engine.range(b"key/", b"key/").map(Result::unwrap).collect();
    let number = |value: &[u8]| u64::from_le_bytes(*value.first_chunk().unwrap());
    let first = number(&found[0].1);
    assert!(first >= least, "{first} after {least}");
    let expected = KEYS as usize + usize::from(first % 2 == 1);
    for (key, value) in &found {
        // A pack that goes while it is read may show a value that is newer, never one that is older.
        assert!(number(value) >= first, "{key:?} is older than the others");
    }
    assert!(found.len() == expected || found.iter().any(|(_, value)| number(value) > first));
    first
}

#[test]
fn readers_see_whole_commits_while_they_are_applied_and_packs_are_rewritten() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::open(folder.path(), 8 << 20, options()).unwrap();
    engine.commit(batch(&engine, 0)).unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let (mut last, mut reads) = (0, 0_u64);
                    while !done.load(Ordering::Relaxed) {
                        last = read(&engine, last);
                        let one = engine.get(b"key/001").unwrap().unwrap();
                        let seen = u64::from_le_bytes(*one.first_chunk().unwrap());
                        assert!(seen >= last);
                        reads += 1;
                    }
                    reads
                })
            })
            .collect();
        let writer = scope.spawn(|| {
            for number in 1..=COMMITS {
                engine.commit(batch(&engine, number)).unwrap();
            }
            done.store(true, Ordering::Relaxed);
        });
        let backups = scope.spawn(|| {
            let mut backups = 0;
            while !done.load(Ordering::Relaxed) {
                let target = tempfile::tempdir().unwrap();
                engine.backup(&real(target.path()), &|| false).unwrap();
                let restored = Engine::open(target.path(), 8 << 20, options()).unwrap();
                // A backup is of one moment, whatever goes on.
                let moment = read(&restored, 0);
                let all = restored.range(b"key/", b"key/").map(Result::unwrap);
                let number = |value: &[u8]| u64::from_le_bytes(*value.first_chunk().unwrap());
                assert!(all.into_iter().all(|(_, value)| number(&value) == moment));
                assert_eq!(restored.check(&mut |_, _| true).unwrap().count, 0);
                backups += 1;
            }
            backups
        });
        writer.join().unwrap();
        assert!(backups.join().unwrap() > 0);
        for reader in readers {
            assert!(reader.join().unwrap() > 0);
        }
    });
    assert_eq!(read(&engine, COMMITS), COMMITS);
    assert_eq!(engine.check(&mut |_, _| true).unwrap().count, 0);
    let stat = engine.stat();
    assert!(stat.applied > 0, "nothing was ever applied: {stat:?}");
}
