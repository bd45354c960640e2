//! Where all chance of a world comes from: its seed.
//!
//! What is drawn for one purpose depends on nothing that is drawn for another: each has a stream or a key of its own, by
//! its name. All of it is BLAKE3, which is the same in every version and on every machine.

use std::f64::consts::PI;

use uuid::Uuid;

use dormouse_domain::id::SessionId;
use dormouse_domain::journal::Salt;
use dormouse_domain::simulation::{Member, Role, Tick};

/// The seed of a world.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chance([u8; 32]);

impl Chance {
    pub(crate) fn of_seed(seed: u64) -> Chance {
        Chance(blake3::derive_key(
            "dormouse simulation 2026: the seed of a world",
            &seed.to_le_bytes(),
        ))
    }

    /// The key of the random numbers that members of a role draw in one tick.
    pub(crate) fn key(&self, role: Role, at: Tick) -> (u64, u64) {
        let mut hash = blake3::Hasher::new_keyed(&self.0);
        hash.update(b"key").update(&role.to_le_bytes()).update(&at.to_le_bytes());
        let mut bytes = [0; 16];
        hash.finalize_xof().fill(&mut bytes);
        let key = u128::from_le_bytes(bytes);
        (key as u64, (key >> 64) as u64)
    }

    /// What the random bytes come from that a guest asks its host for.
    pub(crate) fn of_guests(&self, role: Role) -> [u8; 32] {
        *blake3::Hasher::new_keyed(&self.0)
            .update(b"guest")
            .update(&role.to_le_bytes())
            .finalize()
            .as_bytes()
    }

    /// The id of the session that a member is. The same in all worlds of this seed.
    pub(crate) fn id_of(&self, role: Role, member: Member) -> SessionId {
        SessionId(self.uuid(b"session", role, member, 0))
    }

    /// The id of the turn that a member has in a tick.
    pub(crate) fn turn_of(&self, role: Role, member: Member, at: Tick) -> Uuid {
        self.uuid(b"turn", role, member, at)
    }

    /// What the random bytes come from that a member asks its host for, which is a session.
    pub(crate) fn of_member(&self, role: Role, member: Member) -> [u8; 32] {
        *self.keyed(b"member", role, member, 0).finalize().as_bytes()
    }

    /// What the random bytes of a member are drawn with in a tick, once it has made so many calls.
    pub(crate) fn salt_of(&self, role: Role, member: Member, at: Tick, calls: u64) -> Salt {
        let mut hash = self.keyed(b"salt", role, member, at);
        let mut salt = Salt::default();
        hash.update(&calls.to_le_bytes()).finalize_xof().fill(&mut salt);
        salt
    }

    fn uuid(&self, what: &[u8], role: Role, member: Member, at: Tick) -> Uuid {
        let mut bytes = [0; 16];
        self.keyed(what, role, member, at).finalize_xof().fill(&mut bytes);
        Uuid::new_v8(bytes)
    }

    fn keyed(&self, what: &[u8], role: Role, member: Member, at: Tick) -> blake3::Hasher {
        let mut hash = blake3::Hasher::new_keyed(&self.0);
        hash.update(what).update(&role.to_le_bytes());
        hash.update(&member.to_le_bytes()).update(&at.to_le_bytes());
        hash
    }

    /// Random numbers for what has this name.
    pub(crate) fn stream(&self, role: Role, name: &str) -> Stream {
        let mut hash = blake3::Hasher::new_keyed(&self.0);
        hash.update(b"stream").update(&role.to_le_bytes()).update(name.as_bytes());
        Stream { bytes: hash.finalize_xof(), block: [0; BLOCK], used: BLOCK }
    }

    /// Decides between those who claim the same in the same tick: the least has it.
    pub(crate) fn claim(key: (u64, u64), to: Member, from: Member) -> u64 {
        // Two rounds of the finalizer of SplitMix64, keyed: no member is preferred, and none in two ticks.
        let mixed = mix(key.0 ^ (u64::from(to) << 32 | u64::from(from)));
        mix(mixed ^ key.1)
    }
}

fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

const BLOCK: usize = 512;

/// Random numbers, one after another.
pub(crate) struct Stream {
    bytes: blake3::OutputReader,
    block: [u8; BLOCK],
    used: usize,
}

impl Stream {
    pub(crate) fn bits(&mut self) -> u64 {
        if self.used == BLOCK {
            self.bytes.fill(&mut self.block);
            self.used = 0;
        }
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&self.block[self.used..self.used + 8]);
        self.used += 8;
        u64::from_le_bytes(bytes)
    }

    /// From 0 up to, and without, 1.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 * (1.0 / (1_u64 << 53) as f64)
    }

    /// From 0 up to, and without, `end`; 0 where that is 0.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(end)) >> 64) as u64
    }

    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// With mean 0 and standard deviation 1: one of the two of Box and Muller.
    pub(crate) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * libm::log(1.0 - self.unit())).sqrt();
        radius * libm::cos(2.0 * PI * self.unit())
    }

    /// With median 0 and scale 1.
    pub(crate) fn cauchy(&mut self) -> f64 {
        libm::tan(PI * (self.unit() - 0.5))
    }

    /// How many failures come before the next success, each of which has this probability.
    pub(crate) fn skipped(&mut self, probability: f64) -> u64 {
        if probability >= 1.0 {
            return 0;
        }
        let skipped = libm::log(1.0 - self.unit()) / libm::log1p(-probability);
        // A float that is too large for an integer becomes the largest: beyond all members.
        skipped as u64
    }
}
