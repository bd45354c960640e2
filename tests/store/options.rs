//! What to measure, and how much of it.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};

/// Measure the store of the host, and other embedded databases beside it.
#[derive(Clone, Debug, Parser)]
#[command(name = "store")]
pub struct Options {
    /// A smaller run: two minutes instead of twenty minutes.
    #[arg(long, global = true)]
    pub quick: bool,
    /// Only these; may be given more than once.
    #[arg(long, value_name = "NAME")]
    part: Vec<Part>,
    /// Sessions that are stored, asleep; may be given more than once
    /// [default: 100000 and 1000000, quick: 10000 and 50000].
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1_000..=4_000_000))]
    sessions: Vec<u32>,
    /// How long turns are counted, each time [default: 5, quick: 1].
    #[arg(long, global = true, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: Option<u64>,
    /// How long the store runs at full speed on end, in seconds [default: 300, quick: 20].
    #[arg(long, global = true, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    sustained: Option<u64>,
    /// The run at full speed ends when the store takes more of the disk than this, in GB.
    #[arg(long, global = true, value_name = "COUNT", default_value_t = 6)]
    most: u64,
    /// Where the stores are made, and removed in the end: a directory on a disk [default: below the
    /// target directory].
    #[arg(long, global = true, value_name = "DIRECTORY")]
    dir: Option<PathBuf>,
    /// When the first session was created, in milliseconds since 1970.
    #[arg(long, global = true, hide = true)]
    pub epoch: Option<i64>,
    /// `cargo bench` says so.
    #[arg(long, hide = true)]
    bench: bool,
    /// What a process of its own does, so that its memory is its own.
    #[command(subcommand)]
    pub stage: Option<Stage>,
}

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Durable turns on few sessions.
    Turns,
    /// Many sleeping sessions: start, memory, listings, wakes, turns among them.
    Stored,
    /// Full speed on end: rate, disk and memory over time.
    Sustained,
    /// What a kill leaves behind.
    Recovery,
    /// Other embedded databases with the same turns.
    Rivals,
}

impl Part {
    const ALL: [Part; 5] =
        [Part::Turns, Part::Stored, Part::Sustained, Part::Recovery, Part::Rivals];
}

/// What a process of its own does.
#[derive(Clone, Copy, Debug, Subcommand)]
#[command(hide = true)]
pub enum Stage {
    /// Turns on few sessions.
    Hot,
    /// Create so many sessions.
    Fill {
        /// How many.
        count: u32,
    },
    /// What so many sleeping sessions cost.
    Asleep {
        /// How many.
        count: u32,
    },
    /// Turns among so many sessions.
    Among {
        /// How many.
        count: u32,
    },
    /// Full speed on end.
    Sustained,
    /// Turns among so many sessions until somebody kills the process.
    Write {
        /// How many.
        count: u32,
    },
    /// Have a process killed that writes, and look at what it leaves behind.
    Kill {
        /// How many sessions.
        count: u32,
    },
    /// The same turns as for all contenders.
    Contest {
        /// Who.
        contender: Contender,
    },
}

/// Who is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Contender {
    /// The store of the host, which keeps only the newest snapshot of a session.
    Dormouse,
    /// The store of the host with its default number of snapshots.
    DormouseHistory,
    /// sled alone, a key for each thing.
    Sled,
    /// fjall.
    #[cfg(feature = "rivals")]
    Fjall,
    /// SQLite.
    #[cfg(feature = "rivals")]
    Sqlite,
}

impl Contender {
    /// As the command line calls it.
    pub fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

impl Options {
    /// The parts that are asked for, in the order of a run.
    pub fn parts(&self) -> impl Iterator<Item = Part> + '_ {
        Part::ALL.into_iter().filter(|part| self.part.is_empty() || self.part.contains(part))
    }

    /// Where the stores are made.
    pub fn directory(&self) -> PathBuf {
        self.dir.clone().unwrap_or_else(|| env!("CARGO_TARGET_TMPDIR").into())
    }

    /// One number or the other.
    pub fn choose<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }

    /// How many sessions sleep, each time.
    pub fn counts(&self) -> Vec<u32> {
        if self.sessions.is_empty() {
            self.choose(vec![100_000, 1_000_000], vec![10_000, 50_000])
        } else {
            self.sessions.clone()
        }
    }

    /// How long turns are counted.
    pub fn period(&self) -> Duration {
        Duration::from_secs(self.seconds.unwrap_or_else(|| self.choose(5, 1)))
    }

    /// How long the store runs at full speed.
    pub fn sustained(&self) -> Duration {
        Duration::from_secs(self.sustained.unwrap_or_else(|| self.choose(300, 20)))
    }

    /// How much of the disk it may take then, in bytes.
    pub fn most_bytes(&self) -> u64 {
        self.most.saturating_mul(1_000_000_000)
    }

    /// The arguments of a process that does this stage for this one.
    pub fn pass_on(&self, directory: &std::path::Path, epoch: i64) -> Vec<std::ffi::OsString> {
        let mut arguments = vec!["--dir".into(), directory.into()];
        let mut number = |name: &str, number: String| {
            arguments.push(name.into());
            arguments.push(number.into());
        };
        number("--epoch", epoch.to_string());
        number("--seconds", self.period().as_secs().to_string());
        number("--sustained", self.sustained().as_secs().to_string());
        number("--most", self.most.to_string());
        if self.quick {
            arguments.push("--quick".into());
        }
        arguments
    }
}

impl Stage {
    /// As the command line calls it.
    pub fn arguments(self) -> Vec<String> {
        let (name, of) = match self {
            Stage::Hot => ("hot", None),
            Stage::Fill { count } => ("fill", Some(count.to_string())),
            Stage::Asleep { count } => ("asleep", Some(count.to_string())),
            Stage::Among { count } => ("among", Some(count.to_string())),
            Stage::Sustained => ("sustained", None),
            Stage::Write { count } => ("write", Some(count.to_string())),
            Stage::Kill { count } => ("kill", Some(count.to_string())),
            Stage::Contest { contender } => ("contest", Some(contender.name())),
        };
        std::iter::once(name.to_owned()).chain(of).collect()
    }
}
