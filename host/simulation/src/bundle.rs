//! A world as a file: all that somebody else needs to run it again, and what came of it.
//!
//! The file is a tar archive of the specification (`world.json`), its populations (`populations/`), and what was recorded:
//! `outcome.json`, the hash of each tick (`hashes.bin`, 32 bytes each), the aggregates (`aggregates.csv`), and what language models
//! were asked and have answered (`calls.jsonl`, where there is any of that). Nothing in it is
//! believed: whoever [verifies](Record::difference) it runs the world again, and compares.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};

use crate::fingerprint::Fingerprint;
use crate::recording::{RecordedCall, read_calls, write_calls};
use crate::spec::{MAX_BYTES as MAX_SPEC, SpecError, WorldSpec};
use crate::world::TickSummary;
use dormouse_domain::agent::Digest;
use dormouse_domain::simulation::Tick;

/// The form of the file.
const FORMAT: u32 = 1;
/// The largest bundle, in bytes.
const MAX_BUNDLE: u64 = 1 << 30;
/// The most entries: a population for each role, and what belongs to the world.
const MAX_ENTRIES: usize = 100;

const OUTCOME: &str = "outcome.json";
const WORLD: &str = "world.json";
const HASHES: &str = "hashes.bin";
const AGGREGATES: &str = "aggregates.csv";
const CALLS: &str = "calls.jsonl";
const POPULATIONS: &str = "populations/";

/// What was recorded of a world.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    /// What came of it, as one hash.
    pub fingerprint: Fingerprint,
    /// The chained hash of each tick.
    pub hashes: Vec<Fingerprint>,
    /// The aggregates, in the order of their ticks.
    pub aggregates: Vec<AggregateValue>,
    /// What members have asked language models, and what these have answered, in the order of their places.
    pub calls: Vec<RecordedCall>,
}

/// What an aggregate was at the end of a tick.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AggregateValue {
    /// The tick.
    pub at: Tick,
    /// Its place in the specification.
    pub place: usize,
    /// `None`: there were no members.
    pub value: Option<f64>,
}

impl AggregateValue {
    /// Whether it is the same to the bit.
    fn is_same_as(&self, other: &AggregateValue) -> bool {
        let bits = |own: &AggregateValue| (own.at, own.place, own.value.map(f64::to_bits));
        bits(self) == bits(other)
    }
}

/// A world, and what came of it.
#[derive(Clone, Debug)]
pub struct Bundle {
    /// What it is made of.
    pub spec: WorldSpec,
    /// The digest of the population of each role.
    pub made_of: Vec<Digest>,
    /// Each population once.
    pub populations: BTreeMap<Digest, Vec<u8>>,
    /// What came of it.
    pub record: Record,
}

/// Why a file is no bundle.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// It cannot be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is something else, or it was cut. Says what is wrong.
    #[error("this is no bundle of a world: {0}")]
    Invalid(String),
    /// Its specification makes no sense.
    #[error("the specification in the bundle: {0}")]
    Spec(#[from] SpecError),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct OutcomeFile {
    format: u32,
    /// The version of the program that ran the world. It is told, and compared with nothing.
    version: String,
    fingerprint: String,
    ticks: u64,
    populations: Vec<String>,
}

impl Record {
    /// Note what came of a tick.
    pub fn note(&mut self, summary: &TickSummary) {
        self.hashes.push(summary.hash);
        self.aggregates.extend_from_slice(&summary.aggregates);
        self.calls.extend_from_slice(&summary.calls);
    }

    /// What is different in another record of the same world. `None`: nothing.
    #[must_use]
    pub fn difference(&self, other: &Record) -> Option<String> {
        let ticks = self.hashes.iter().zip(&other.hashes).position(|(own, other)| own != other);
        if let Some(tick) = ticks {
            return Some(format!("tick {tick} is the first that comes out differently"));
        }
        if self.hashes.len() != other.hashes.len() {
            let (own, other) = (self.hashes.len(), other.hashes.len());
            return Some(format!("there are {own} ticks in the one and {other} in the other"));
        }
        let same = |(own, other): (&AggregateValue, &AggregateValue)| own.is_same_as(other);
        if let Some(place) =
            self.aggregates.iter().zip(&other.aggregates).position(|pair| !same(pair))
        {
            return Some(format!(
                "an aggregate of tick {} is different",
                self.aggregates[place].at
            ));
        }
        if self.calls != other.calls {
            return Some(
                "members ask models for something else, or are told something else".to_owned(),
            );
        }
        if self.aggregates.len() != other.aggregates.len() {
            return Some("there are more aggregates in the one than in the other".to_owned());
        }
        (self.fingerprint != other.fingerprint).then(|| "the fingerprints are different".to_owned())
    }
}

impl Bundle {
    /// Write it. The same bundle is always the same bytes.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, file: impl Write) -> io::Result<()> {
        let mut archive = tar::Builder::new(file);
        let outcome = OutcomeFile {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            fingerprint: blake3::Hash::from_bytes(self.record.fingerprint).to_hex().to_string(),
            ticks: self.record.hashes.len() as u64,
            populations: self.made_of.iter().map(ToString::to_string).collect(),
        };
        append(&mut archive, OUTCOME, &serde_json::to_vec_pretty(&outcome)?)?;
        append(&mut archive, WORLD, &serde_json::to_vec_pretty(&self.spec)?)?;
        for (digest, component) in &self.populations {
            append(&mut archive, &format!("{POPULATIONS}{digest}.wasm"), component)?;
        }
        append(&mut archive, HASHES, self.record.hashes.as_flattened())?;
        let mut aggregates = Vec::new();
        self.write_aggregates(&mut aggregates)?;
        append(&mut archive, AGGREGATES, &aggregates)?;
        if !self.record.calls.is_empty() {
            let mut calls = Vec::new();
            write_calls(&self.record.calls, &mut calls)?;
            append(&mut archive, CALLS, &calls)?;
        }
        archive.into_inner()?.flush()
    }

    /// Write the aggregates as CSV: the tick, the name, and the value, which is empty where there was none.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_aggregates(&self, file: &mut impl Write) -> io::Result<()> {
        writeln!(file, "tick,name,value")?;
        for AggregateValue { at, place, value } in &self.record.aggregates {
            let name = self.spec.aggregates.get(*place).map_or("", |aggregate| &aggregate.name);
            match value {
                Some(value) => writeln!(file, "{at},{name},{value:?}")?,
                None => writeln!(file, "{at},{name},")?,
            }
        }
        Ok(())
    }

    /// Read one. It is well formed then, and nothing more is known of it.
    ///
    /// # Errors
    /// A [`BundleError`] that says what is wrong.
    pub fn read(file: impl Read) -> Result<Bundle, BundleError> {
        let mut entries = BTreeMap::new();
        // Bounded before anything is believed: the lengths in a header are what somebody has written there.
        let mut archive = tar::Archive::new(file.take(MAX_BUNDLE));
        for entry in archive.entries()? {
            let entry = entry.map_err(|error| invalid(error.to_string()))?;
            let name = entry.path().map_err(|error| invalid(error.to_string()))?;
            let name = name.to_string_lossy().into_owned();
            if !entry.header().entry_type().is_file() || entries.len() == MAX_ENTRIES {
                return Err(invalid("there is something else than a few files in it"));
            }
            let mut bytes = Vec::new();
            let mut whole = entry.take(MAX_BUNDLE);
            whole.read_to_end(&mut bytes).map_err(|error| invalid(error.to_string()))?;
            if entries.insert(name.clone(), bytes).is_some() {
                return Err(invalid(format!("there is `{name}` in it twice")));
            }
        }
        let mut take = |name: &str| {
            entries.remove(name).ok_or_else(|| invalid(format!("there is no `{name}` in it")))
        };
        let json = |error: serde_json::Error| invalid(error.to_string());
        let outcome: OutcomeFile = serde_json::from_slice(&take(OUTCOME)?).map_err(json)?;
        if outcome.format != FORMAT {
            let problem =
                format!("it has format {}, and this program reads format {FORMAT}", outcome.format);
            return Err(invalid(problem));
        }
        let world = take(WORLD)?;
        if world.len() > MAX_SPEC {
            return Err(SpecError::TooLarge.into());
        }
        let spec: WorldSpec = serde_json::from_slice(&world).map_err(json)?;
        spec.check()?;
        let hashes = take(HASHES)?;
        let (hashes, rest) = hashes.as_chunks::<32>();
        if outcome.ticks != spec.ticks {
            return Err(invalid(format!(
                "its world has {} ticks and not {}",
                spec.ticks, outcome.ticks
            )));
        }
        if !rest.is_empty() || hashes.len() as u64 != outcome.ticks {
            return Err(invalid(format!(
                "there are not as many hashes as its {} ticks",
                outcome.ticks
            )));
        }
        let table = take(AGGREGATES)?;
        let aggregates = read_aggregates(&spec, &table)?;
        let digest =
            |text: &String| text.parse::<Digest>().map_err(|error| invalid(error.to_string()));
        let made_of: Vec<Digest> =
            outcome.populations.iter().map(digest).collect::<Result<_, _>>()?;
        if made_of.len() != spec.members.len() {
            return Err(invalid("there is not a population for each role"));
        }
        let mut populations = BTreeMap::new();
        for digest in &made_of {
            if !populations.contains_key(digest) {
                let component = take(&format!("{POPULATIONS}{digest}.wasm"))?;
                if Digest::of(&component) != *digest {
                    return Err(invalid(format!("the population {digest} was changed")));
                }
                populations.insert(*digest, component);
            }
        }
        let calls = entries.remove(CALLS).unwrap_or_default();
        let calls = read_calls(calls.as_slice());
        let calls = calls.map_err(|problem| invalid(format!("`{CALLS}`: {problem}")))?;
        if let Some(name) = entries.keys().next() {
            return Err(invalid(format!("there is a `{name}` in it, which belongs to none")));
        }
        let fingerprint = blake3::Hash::from_hex(&outcome.fingerprint);
        let fingerprint = *fingerprint.map_err(|error| invalid(error.to_string()))?.as_bytes();
        let record = Record { fingerprint, hashes: hashes.to_vec(), aggregates, calls };
        let bundle = Bundle { spec, made_of, populations, record };
        let mut written = Vec::new();
        bundle.write_aggregates(&mut written)?;
        // What is read in one way and written in another was not written by this program.
        if written != table {
            return Err(invalid(format!("`{AGGREGATES}` is not as it was written")));
        }
        Ok(bundle)
    }
}

fn invalid(problem: impl Into<String>) -> BundleError {
    BundleError::Invalid(problem.into())
}

fn append(archive: &mut tar::Builder<impl Write>, name: &str, bytes: &[u8]) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    header.set_mtime(0);
    archive.append_data(&mut header, name, bytes)
}

fn read_aggregates(spec: &WorldSpec, bytes: &[u8]) -> Result<Vec<AggregateValue>, BundleError> {
    let text = std::str::from_utf8(bytes).map_err(|error| invalid(error.to_string()))?;
    let places: BTreeMap<&str, usize> =
        spec.aggregates.iter().enumerate().map(|(place, own)| (own.name.as_str(), place)).collect();
    let line = |line: &str| {
        let mut fields = line.split(',');
        let (tick, name, value) = (fields.next()?, fields.next()?, fields.next()?);
        let value = if value.is_empty() { None } else { Some(value.parse().ok()?) };
        Some(AggregateValue { at: tick.parse().ok()?, place: *places.get(name)?, value })
    };
    let mut lines = text.lines().zip(1..);
    lines.next();
    let read = |(text, number): (&str, usize)| {
        line(text)
            .ok_or_else(|| invalid(format!("line {number} of `{AGGREGATES}` is no aggregate")))
    };
    lines.map(read).collect()
}
