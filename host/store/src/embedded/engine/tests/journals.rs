//! The journals of open turns among random commits: a few rows come one after the other, one of them is given its
//! value again, which may be staged then, and all of them go at once.

use bytes::Bytes;

use super::super::batch::{Batch, Class};
use super::super::core::Core;
use super::{Model, Random};

/// How many sessions have journals.
const SESSIONS: u64 = 6;

/// Take one step with the journal of a session: in the batch, and in what the engine is to have after it.
pub(super) fn step(core: &Core, batch: &mut Batch, next: &mut Model, random: &mut Random) {
    let session = format!("j{}", random.below(SESSIONS));
    let open = format!("{session}o").into_bytes();
    let entries = format!("{session}e").into_bytes();
    if !next.contains_key(&open) {
        place(batch, next, Class::Inline, open, random.bytes(80));
        let (input, bytes) = (format!("{session}i").into_bytes(), random.bytes(600));
        place(batch, next, Class::Head, input, bytes);
        return;
    }
    let written = next.keys().filter(|key| key.starts_with(&entries)).count();
    let entry = |seq: usize| format!("{session}e{seq:03}").into_bytes();
    match random.below(8) {
        0 => {
            let of_session = next.keys().filter(|key| key.starts_with(session.as_bytes()));
            for key in of_session.cloned().collect::<Vec<_>>() {
                next.remove(&key);
                batch.delete(key);
            }
        }
        1 | 2 if written > 0 => {
            let (key, value) = (entry(written), random.bytes(5000));
            let values = [(Bytes::from(key.clone()), Bytes::from(value.clone()))];
            // If it cannot be staged, it is not part of the batch.
            if let Ok(staged) = core.stage(&values) {
                batch.put_staged(staged, |_| true);
                next.insert(key, value);
            }
        }
        3 | 4 if written > 0 => place(batch, next, Class::Head, entry(written), random.bytes(300)),
        5 => {
            let attempts = format!("{session}a").into_bytes();
            place(batch, next, Class::Inline, attempts, random.bytes(12));
        }
        _ => place(batch, next, Class::Head, entry(written + 1), random.bytes(120)),
    }
}

/// Give a key its value, which is its first where it has none.
fn place(batch: &mut Batch, next: &mut Model, class: Class, key: Vec<u8>, value: Vec<u8>) {
    if next.insert(key.clone(), value.clone()).is_none() {
        batch.put_new(class, key, value);
    } else {
        batch.put(class, key, value);
    }
}
