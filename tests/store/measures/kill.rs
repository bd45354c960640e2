//! What a kill leaves behind: a process that writes at full speed tells which turns were acknowledged,
//! and is killed. All of those have to be there, and what else is there has to be whole.

use std::io::{BufWriter, Read, Write};
use std::ops::Range;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use dormouse::Retention;
use dormouse_store::Bound;
use dormouse_tests::load::report::{Aim, Figure, float};

use super::Stand;
use crate::fleet::{Choice, Fleet};
use crate::load::{Load, closed, fill};
use crate::machine;
use crate::options::Stage;
use crate::table;
use crate::target::{Dormouse, Target};
use crate::world::Step;

/// Turns that are committed at the same time.
const WIDTH: u32 = 256;
/// Nobody kills a writer that has written for so long: it ends by itself.
const LONGEST: Duration = Duration::from_secs(120);
/// What a writer says when all sessions are there.
const READY: Acknowledged = [u32::MAX, 0];
/// Turns that are read at once.
const PAGE: usize = 500;

/// A session and the number of its turn.
type Acknowledged = [u32; 2];

/// Write until somebody kills this process, and tell of each turn that was acknowledged.
pub async fn write(stand: Stand<'_>, count: u32) -> Result<()> {
    let store = stand.open()?;
    fill(&store, count).await?;
    let (told, turns) = channel();
    std::thread::spawn(move || {
        let mut out = BufWriter::new(std::io::stdout());
        while let Ok(turn) = turns.recv() {
            // Whoever reads is gone: then nobody needs this process.
            let tell = |out: &mut BufWriter<_>, turn: Acknowledged| {
                let [session, number] = turn.map(u32::to_le_bytes);
                out.write_all(&session).and_then(|()| out.write_all(&number))
            };
            let told = tell(&mut out, turn)
                .and_then(|()| turns.try_iter().try_for_each(|turn| tell(&mut out, turn)))
                .and_then(|()| out.flush());
            if told.is_err() {
                std::process::exit(1);
            }
        }
    });
    told.send(READY)?;
    let choice = if count == WIDTH { Choice::Own } else { Choice::Any };
    let load = Load { period: LONGEST, ..stand.load(choice, WIDTH) };
    closed(&Arc::new(Telling { store, told }), &Arc::new(Fleet::new(count)), load).await?;
    Ok(())
}

/// A store that says of each turn that it has acknowledged it.
struct Telling {
    store: Arc<Dormouse>,
    told: Sender<Acknowledged>,
}

impl Target for Telling {
    async fn create(&self, sessions: Range<u32>) -> Result<()> {
        self.store.create(sessions).await
    }

    async fn turn(&self, step: Step) -> Result<()> {
        self.store.turn(step).await?;
        Ok(self.told.send([step.session, step.turn])?)
    }

    async fn check(&self, session: u32, turns: u32) -> Result<()> {
        self.store.check(session, turns).await
    }

    fn groups(&self) -> u64 {
        self.store.groups()
    }

    fn kept(&self) -> Retention {
        self.store.kept()
    }

    async fn close(&self) -> Result<()> {
        self.store.close().await
    }
}

/// Have it killed, and look.
pub async fn measure(mut stand: Stand<'_>, count: u32) -> Result<()> {
    let period = stand.options.choose(Duration::from_secs(10), Duration::from_secs(2));
    stand.report.section(&format!("a kill at full speed among {} sessions", table::count(count)));
    let mut child = Command::new(std::env::current_exe()?)
        .args(stand.options.pass_on(&stand.options.directory(), stand.epoch))
        .args(Stage::Write { count }.arguments())
        .stdout(Stdio::piped())
        .spawn()?;
    let read = acknowledged(&mut child, count, period);
    // Also where reading has failed.
    child.kill()?;
    child.wait()?;
    let turns = read?;
    let total: u64 = turns.iter().map(|turns| u64::from(*turns)).sum();
    ensure!(total > 0, "the writer has written nothing");
    stand.report.note(&format!(
        "killed after {total} turns; on the disk: {}",
        machine::by_folder(&stand.directory)?
    ));
    let begun = Instant::now();
    let store = stand.open()?;
    stand.report.row("open after the kill", Figure::Time(begun.elapsed()), Aim::None);
    let memory = Figure::Bytes(float(machine::memory()?));
    stand.report.row("  memory then, the benchmark's own among it", memory, Aim::None);
    let mut more: u64 = 0;
    for (session, acknowledged) in (0..).zip(&turns) {
        let found = store.turns(session).await?;
        ensure!(
            (*acknowledged..=acknowledged + 1).contains(&found),
            "session {session} has {found} turns, and {acknowledged} were acknowledged"
        );
        more += u64::from(found - acknowledged);
        if *acknowledged > 0 {
            store.check(session, found).await?;
            rows(&store, session, found).await?;
        }
    }
    stand.report.note(&format!(
        "all {total} acknowledged turns are there, and {more} that were under way, whole"
    ));
    store.close().await
}

/// How many turns of each session are acknowledged until the process is killed.
fn acknowledged(child: &mut Child, count: u32, period: Duration) -> Result<Vec<u32>> {
    let mut out = child.stdout.take().context("its output is read here")?;
    let mut turns = vec![0; count as usize];
    let mut next = || -> Result<Option<Acknowledged>> {
        let mut bytes = [0; 8];
        match out.read_exact(&mut bytes) {
            Ok(()) => {
                let number = |from| u32::from_le_bytes(std::array::from_fn(|n| bytes[from + n]));
                Ok(Some([number(0), number(4)]))
            }
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error.into()),
        }
    };
    ensure!(next()? == Some(READY), "the writer did not begin");
    let end = Instant::now() + period;
    let mut killed = false;
    while let Some([session, turn]) = next()? {
        let turns = turns.get_mut(session as usize).context("there is no such session")?;
        ensure!(turn == *turns + 1, "session {session} goes from turn {turns} to {turn}");
        *turns = turn;
        if !killed && Instant::now() > end {
            child.kill()?;
            killed = true;
        }
    }
    Ok(turns)
}

/// The turns of a session that are to be kept are there, in order, up to the last.
async fn rows(store: &Dormouse, session: u32, turns: u32) -> Result<()> {
    let (id, last) = (store.world.id(session), u64::from(turns));
    let first = last.saturating_sub(store.kept().turns);
    let mut seen = first;
    while seen < last {
        let page = store.store.turns(id, seen, Bound::entries(PAGE)).await?.entries;
        ensure!(!page.is_empty(), "turn {} of session {session} is lost", seen + 1);
        for turn in page {
            seen += 1;
            ensure!(turn.number == seen, "turn {seen} of session {session} is lost");
        }
    }
    ensure!(seen == last, "session {session} has {seen} turns, not {turns}");
    Ok(())
}
