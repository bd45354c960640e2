//! The engine on a simulated disk, on a real one, and against what it is to be: an ordered map.

mod concurrent;
mod crash;
mod damage;
mod full;
mod fuzz;
mod journals;
mod model;
mod repair;
mod sim;
mod unopened;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::batch::Batch;
use super::core::Core;
use super::{EngineOptions, Folder, Io, ReadError};

/// What an engine should have.
type Model = BTreeMap<Vec<u8>, Vec<u8>>;

/// Sizes so small that slots, packs and the overlay are soon full.
fn small() -> EngineOptions {
    EngineOptions {
        slot_bytes: 48 << 10,
        log_bytes: 240 << 10,
        overlay_bytes: 256 << 10,
        pack_bytes: 16 << 10,
        floor_bytes: 0,
        interval: Duration::from_millis(2),
        ..EngineOptions::new(*b"salt of the test")
    }
}

/// Everything that an engine has.
fn contents(core: &Core) -> Result<Model, ReadError> {
    core.range(&[], &[])
        .map(|entry| entry.map(|(key, value)| (key.to_vec(), value.to_vec())))
        .collect()
}

/// A real folder.
fn real(path: &Path) -> Arc<dyn Io> {
    Arc::new(Folder::open(path).unwrap())
}

/// Stage a value, and take it into a batch.
fn put_staged(core: &Core, batch: &mut Batch, key: Bytes, value: Vec<u8>) {
    let staged = core.stage(&[(key, value.into())]).unwrap();
    batch.put_staged(staged, |_| true);
}

fn key(number: u64) -> Bytes {
    Bytes::from(format!("{}{number:03}", ["a", "b", "longer/key/"][number as usize % 3]))
}

/// A number from the environment.
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// Numbers that look random, and are the same for the same seed.
#[derive(Clone, Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Less than `end`.
    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// Once in so many times.
    fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            bytes.extend(self.next().to_le_bytes());
        }
        bytes.truncate(length);
        bytes
    }
}
