//! What to measure, and how much of it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};

/// Measure the release build of dormouse over HTTP on this machine.
///
/// Data is kept below the directory for temporary files (`TMPDIR`), which should lie on a disk: to
/// sync memory costs nothing.
#[derive(Clone, Debug, Parser)]
#[command(name = "dormouse-load")]
pub struct Options {
    /// A smaller run: one minute instead of five.
    #[arg(long)]
    quick: bool,
    /// Only these; may be given more than once.
    #[arg(long, value_name = "NAME")]
    only: Vec<Measure>,
    /// Sessions to create and to start with, and timers to set [default: 100000, quick: 10000].
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    sessions: Option<u64>,
    /// How long turns are counted, each time [default: 10, quick: 3].
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: Option<u64>,
    /// Turns to take before the disk is looked at [default: 1000000, quick: 50000].
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    turns: Option<u64>,
    /// The binary to measure [default: `dormouse` beside this program].
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Another build of it, such as one from before a change, whose turns without effects are counted as well.
    #[arg(long, value_name = "FILE")]
    beside: Option<PathBuf>,
}

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Measure {
    /// Durable turns at 1, 32 and 256 sessions.
    Turns,
    /// Sleep and wake.
    Sleep,
    /// Forks, rewinds, and turns without snapshots.
    History,
    /// Agents in JavaScript and Python, where `agents/build` has built them.
    Scripts,
    /// Memory of resident sessions.
    Memory,
    /// Create many sessions, start with them, their memory.
    Stored,
    /// Lists by each filter, and statistics.
    Lists,
    /// Answers as streams and as documents.
    Streams,
    /// Many sessions whose limits fall due at once, while others are spoken to.
    Deadlines,
    /// Timers that are due at once, each of a session that sleeps.
    Timers,
    /// Schedules that are due at once.
    Schedules,
    /// Calls of models through the gate, beside calls made directly.
    Models,
    /// Calls of a tool of the host, beside calls made directly.
    Tools,
    /// Mail between agents, and questions.
    Peers,
    /// Updates of a piece of work, by sessions that resume it and by others.
    Resuming,
    /// The disk after many turns.
    Disk,
}

impl Measure {
    /// All of them, in the order of a run.
    pub const ALL: [Measure; 16] = [
        Measure::Turns,
        Measure::Sleep,
        Measure::History,
        Measure::Scripts,
        Measure::Memory,
        Measure::Stored,
        Measure::Lists,
        Measure::Streams,
        Measure::Deadlines,
        Measure::Timers,
        Measure::Schedules,
        Measure::Models,
        Measure::Tools,
        Measure::Peers,
        Measure::Resuming,
        Measure::Disk,
    ];

    pub(super) fn title(self) -> &'static str {
        match self {
            Measure::Turns => "turns",
            Measure::Sleep => "sleep and wake",
            Measure::History => "history",
            Measure::Scripts => "agents in JavaScript and Python, and one in Rust",
            Measure::Memory => "memory of resident sessions",
            Measure::Stored => "stored sessions",
            Measure::Lists => "lists and statistics",
            Measure::Streams => "streams",
            Measure::Deadlines => "limits that fall due at once",
            Measure::Timers => "timers that are due at once",
            Measure::Schedules => "schedules that are due at once",
            Measure::Models => "models",
            Measure::Tools => "tools of the host",
            Measure::Peers => "agents that write to each other",
            Measure::Resuming => "what resuming saves",
            Measure::Disk => "disk",
        }
    }
}

impl Options {
    /// From the command line. Ends the program where that asks for help or is wrong.
    #[must_use]
    pub fn from_command_line() -> Options {
        Options::parse()
    }

    pub(super) fn asks_for(&self, measure: Measure) -> bool {
        self.only.is_empty() || self.only.contains(&measure)
    }

    pub(super) fn is_quick(&self) -> bool {
        self.quick
    }

    /// One number or the other.
    pub(super) fn choose(&self, full: u64, quick: u64) -> u64 {
        if self.quick { quick } else { full }
    }

    pub(super) fn sessions(&self) -> u64 {
        self.sessions.unwrap_or_else(|| self.choose(100_000, 10_000))
    }

    pub(super) fn period(&self) -> Duration {
        Duration::from_secs(self.seconds.unwrap_or_else(|| self.choose(10, 3)))
    }

    pub(super) fn turns(&self) -> u64 {
        self.turns.unwrap_or_else(|| self.choose(1_000_000, 50_000))
    }

    pub(super) fn binary(&self) -> Result<PathBuf> {
        let binary = match &self.binary {
            Some(binary) => binary.clone(),
            None => std::env::current_exe()?.with_file_name("dormouse"),
        };
        found(&binary)
    }

    /// Another build of the binary, where one is named.
    pub(super) fn beside(&self) -> Option<Result<PathBuf>> {
        self.beside.as_deref().map(found)
    }
}

fn found(binary: &Path) -> Result<PathBuf> {
    let found = binary.canonicalize();
    found.with_context(|| format!("{}: build the host first", binary.display()))
}
