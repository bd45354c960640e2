//! Mutated bytes never panic, and never pass for what they are not.

use bytes::Bytes;

use super::super::batch::{Class, KeyChange};
use super::super::ordered_map::{self, Applied, Identity};
use super::super::value::{self, PackKind, Pointer, Stored};
use super::super::{frame, log_record};
use super::{Random, key};

const TRIES: u64 = 20_000;

/// Change something: a bit, some bytes, the length.
fn mutate(random: &mut Random, bytes: &[u8]) -> Vec<u8> {
    let mut mutated = bytes.to_vec();
    while mutated == bytes {
        let at = random.below(mutated.len().max(1) as u64) as usize;
        match random.below(6) {
            0 if !mutated.is_empty() => mutated[at] ^= 1 << random.below(8),
            1 if !mutated.is_empty() => mutated[at] = random.next() as u8,
            2 => mutated.truncate(at),
            3 => {
                let more = random.below(40) as usize;
                mutated.extend(random.bytes(more));
            }
            4 => {
                let end = mutated.len().min(at + random.below(64) as usize);
                mutated[at..end].fill(if random.once_in(2) { 0 } else { 0xff });
            }
            _ => {
                let end = mutated.len().min(at + 4);
                let number = random.bytes(end - at);
                mutated[at..end].copy_from_slice(&number);
            }
        }
    }
    mutated
}

fn pointer(random: &mut Random) -> Pointer {
    Pointer {
        kind: PackKind::ALL[random.below(3) as usize],
        pack: random.next(),
        offset: random.next() as u32,
        length: random.next() as u32,
        crc: random.next() as u32,
    }
}

fn changes(random: &mut Random) -> Vec<(Bytes, KeyChange)> {
    let count = random.below(6);
    (0..count)
        .map(|_| {
            let length = random.below(600) as usize;
            let value = Bytes::from(random.bytes(length));
            let change = match random.below(6) {
                0 => KeyChange::Delete,
                1 => KeyChange::Staged(pointer(random)),
                2 => KeyChange::Put(Class::Inline, value),
                3 => KeyChange::Put(Class::Head, value),
                4 => KeyChange::Put(Class::Fronted(value.len() as u16 / 2), value),
                _ => KeyChange::Put(Class::Rows, value),
            };
            (key(random.below(100)), change)
        })
        .collect()
}

#[test]
fn groups_of_the_log() {
    let mut random = Random(1);
    let salt = crc32c::crc32c(b"ours");
    for _ in 0..TRIES {
        let changes = changes(&mut random);
        let (sequence, applied) = (random.next(), random.next());
        let mut bytes = Vec::new();
        log_record::write(&mut bytes, salt, sequence, applied, &changes);
        assert_eq!(bytes.len() % log_record::ALIGNMENT, 0);
        let (header, body) = log_record::read(&bytes, salt).unwrap();
        assert_eq!(
            (header.sequence, header.applied, header.room),
            (sequence, applied, bytes.len())
        );
        assert_eq!(log_record::changes(body, header.count).unwrap(), changes);
        assert!(log_record::read(&bytes, !salt).is_none(), "the group of another store");
        let mutated = mutate(&mut random, &bytes);
        // What lies behind the changes does not belong to the group.
        if let Some((header, body)) = log_record::read(&mutated, salt) {
            assert_eq!(log_record::changes(body, header.count).unwrap(), changes);
        }
        // With a checksum that agrees, too, nothing panics.
        if let (Some(header), Some(body)) = (mutated.first_chunk(), mutated.get(32..)) {
            assert!(log_record::claimed_room(header) >= log_record::ALIGNMENT);
            let _ = log_record::changes(body, random.next() as u32);
        }
    }
}

#[test]
fn frames_of_packs() {
    let mut random = Random(2);
    for _ in 0..TRIES {
        let length = random.below(300) as usize;
        let (key, value) = (key(random.below(100)), random.bytes(length));
        let mut bytes = Vec::new();
        frame::write(&mut bytes, &key, &value);
        let whole = frame::read(&bytes).unwrap();
        assert_eq!((whole.key, whole.value, whole.length), (&*key, &*value, bytes.len()));
        let mutated = mutate(&mut random, &bytes);
        if let Some(frame) = frame::read(&mutated) {
            // Bytes have been added behind it.
            assert_eq!((frame.key, frame.value), (&*key, &*value));
            assert!(mutated.len() > bytes.len());
        }
    }
}

#[test]
fn values_of_the_index() {
    let mut random = Random(3);
    for _ in 0..TRIES {
        let key = key(random.below(100));
        let other = super::key(random.below(100) + 200);
        let length = random.below(200) as usize;
        let inline = random.bytes(length);
        let stored = value::write_inline(&key, &inline);
        assert_eq!(Stored::read(&key, &stored), Some(Stored::Inline(&inline)));
        assert_eq!(Stored::read(&other, &stored), None);
        assert_eq!(Stored::read(&key, &mutate(&mut random, &stored)), None);

        let pointer = pointer(&mut random);
        let front = &inline[..inline.len() / 2];
        let stored = pointer.write(&key, front);
        assert_eq!(Stored::read(&key, &stored), Some(Stored::At(pointer, front)));
        assert_eq!(Stored::read(&other, &stored), None);
        assert_eq!(Stored::read(&key, &mutate(&mut random, &stored)), None);
    }
}

#[test]
fn the_engines_own_keys() {
    let mut random = Random(4);
    for _ in 0..TRIES {
        let applied = Applied { sequence: random.next(), next_pack: random.next() };
        assert_eq!(Applied::read(&applied.write()), Some(applied));
        assert_eq!(Applied::read(&mutate(&mut random, &applied.write())), None);

        let salt = *random.bytes(16).first_chunk().unwrap();
        let identity = Identity { format: 1, salt, begun: random.once_in(2) };
        assert_eq!(Identity::read(&identity.write()), Some(identity));
        assert_eq!(Identity::read(&mutate(&mut random, &identity.write())), None);

        let (number, live) = (random.next(), random.next());
        let (key, count) = (ordered_map::pack_key(number), ordered_map::write_count(number, live));
        assert_eq!(ordered_map::read_count(&key, &count), Some((number, live)));
        assert_eq!(ordered_map::read_count(&key, &mutate(&mut random, &count)), None);
        assert_eq!(ordered_map::read_count(&ordered_map::pack_key(!number), &count), None);
    }
}

#[test]
fn a_guest_that_writes_what_looks_like_a_group_has_written_no_group() {
    // The bytes of a group of another salt, at each place where a group may begin.
    let mut forged = Vec::new();
    log_record::write(
        &mut forged,
        crc32c::crc32c(b"guessed"),
        2,
        0,
        &[(key(1), KeyChange::Delete)],
    );
    let value = Bytes::from(forged.repeat(4));
    let mut bytes = Vec::new();
    let salt = crc32c::crc32c(b"ours");
    log_record::write(&mut bytes, salt, 1, 0, &[(key(1), KeyChange::Put(Class::Head, value))]);
    bytes[5000] ^= 1;
    assert_eq!(super::super::log::groups(&bytes, salt).count(), 0);
}
