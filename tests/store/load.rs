//! Turns at full speed, or by a schedule.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use dormouse_tests::load::report::{Times, float};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::fleet::{Choice, Dice, Fleet};
use crate::machine;
use crate::target::Target;

/// The most sessions that are created in one commit.
const CREATED: u32 = 256;
/// Commits of new sessions that wait at the same time.
const CREATORS: u32 = 4;

/// How turns are put on a store.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Which sessions have them.
    pub choice: Choice,
    /// How many wait for their turn to be durable at the same time, at most.
    pub width: u32,
    /// For how long turns are counted.
    pub period: Duration,
    /// For how long they are taken and not counted before.
    pub warm_up: Duration,
    /// So many turns are enough.
    pub most: u64,
    /// Whether one in a hundred states is a large one.
    pub large: bool,
}

/// What a store has borne.
pub struct Outcome {
    /// How many turns were counted.
    pub turns: u64,
    /// In which time.
    pub period: Duration,
    /// How long they took. Of turns by a schedule: since they were due.
    pub times: Times,
    /// The time of processors that this process has used meanwhile.
    pub busy: Duration,
    /// Groups of turns that were made durable meanwhile.
    pub groups: u64,
    /// Turns that were due and had not begun when patience was at its end.
    pub left: u64,
}

impl Outcome {
    /// Turns a second.
    pub fn rate(&self) -> f64 {
        float(self.turns) / self.period.as_secs_f64()
    }
}

/// Create the sessions of a fleet.
pub async fn fill<T: Target>(target: &Arc<T>, count: u32) -> Result<()> {
    let next = Arc::new(AtomicU64::new(0));
    let mut workers = JoinSet::new();
    for _ in 0..CREATORS {
        let (target, next) = (Arc::clone(target), Arc::clone(&next));
        workers.spawn(async move {
            loop {
                let batch = u32::try_from(next.fetch_add(1, Ordering::Relaxed))?;
                let from = batch.saturating_mul(CREATED);
                if from >= count {
                    return anyhow::Ok(());
                }
                target.create(from..count.min(from + CREATED)).await?;
            }
        });
    }
    joined(workers).await
}

/// Turns at full speed: each worker begins the next when the last is durable.
pub async fn closed<T: Target>(target: &Arc<T>, fleet: &Arc<Fleet>, load: Load) -> Result<Outcome> {
    let begun = Instant::now() + load.warm_up;
    let end = begun + load.period;
    let times = Arc::new(Mutex::new(Times::new()));
    let left = Arc::new(AtomicU64::new(load.most));
    let mut workers = JoinSet::new();
    for worker in 0..load.width {
        let (target, fleet) = (Arc::clone(target), Arc::clone(fleet));
        let (times, left) = (Arc::clone(&times), Arc::clone(&left));
        workers.spawn(async move {
            let mut dice = Dice::new(worker);
            while Instant::now() < end && take(&left) {
                let step = fleet.begin(load.choice, worker, &mut dice, load.large);
                let since = Instant::now();
                target.turn(step).await?;
                fleet.done(step);
                if since >= begun {
                    note(&times, since.elapsed());
                }
            }
            anyhow::Ok(())
        });
    }
    tokio::time::sleep(load.warm_up).await;
    let (busy, groups) = (machine::busy()?, target.groups());
    joined(workers).await?;
    // The last turns end a little later than the time that was set.
    let period = begun.elapsed();
    outcome(target, &times, period, (busy, groups), 0)
}

/// Turns by a schedule, so many a second, whether or not those before are durable: a turn that waits
/// because the store is slow has waited since it was due.
pub async fn scheduled<T: Target>(
    target: &Arc<T>,
    fleet: &Arc<Fleet>,
    load: Load,
    rate: f64,
) -> Result<Outcome> {
    let due = Arc::new(Semaphore::new(0));
    let next = Arc::new(AtomicU64::new(0));
    let times = Arc::new(Mutex::new(Times::new()));
    let total = whole(rate * load.period.as_secs_f64());
    let begun = Instant::now() + Duration::from_millis(20);
    let patience = begun + load.period * 3;
    let mut workers = JoinSet::new();
    for worker in 0..load.width {
        let (target, fleet) = (Arc::clone(target), Arc::clone(fleet));
        let (due, next, times) = (Arc::clone(&due), Arc::clone(&next), Arc::clone(&times));
        workers.spawn(async move {
            let mut dice = Dice::new(worker);
            while let Ok(permit) = due.acquire().await {
                permit.forget();
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= total || Instant::now() > patience {
                    return Ok(());
                }
                let scheduled = begun + Duration::from_secs_f64(float(number) / rate);
                let step = fleet.begin(load.choice, worker, &mut dice, load.large);
                target.turn(step).await?;
                fleet.done(step);
                note(&times, scheduled.elapsed());
            }
            anyhow::Ok(())
        });
    }
    let (busy, groups) = (machine::busy()?, target.groups());
    let width = load.width;
    // The timers of the runtime are too coarse.
    let pacer = std::thread::spawn(move || pace(&due, begun, rate, total, width));
    joined(workers).await?;
    let period = begun.elapsed().max(load.period);
    let _ = tokio::task::spawn_blocking(move || pacer.join()).await?;
    let mut outcome = outcome(target, &times, period, (busy, groups), 0)?;
    outcome.left = total.saturating_sub(outcome.turns);
    Ok(outcome)
}

/// Let turns begin when they are due; in the end, let everybody see that there are no more.
fn pace(due: &Semaphore, begun: Instant, rate: f64, total: u64, width: u32) {
    let mut released = 0;
    while released < total {
        let now = begun + Duration::from_secs_f64(float(released) / rate);
        std::thread::sleep(now.saturating_duration_since(Instant::now()));
        let elapsed = Instant::now().saturating_duration_since(begun).as_secs_f64();
        // The one with number 0 is due at once.
        let until = total.min(whole(elapsed * rate) + 1).max(released + 1);
        due.add_permits(usize::try_from(until - released).unwrap_or(0));
        released = until;
    }
    due.add_permits(width as usize);
}

fn outcome<T: Target>(
    target: &Arc<T>,
    times: &Mutex<Times>,
    period: Duration,
    (busy, groups): (Duration, u64),
    left: u64,
) -> Result<Outcome> {
    let times = std::mem::take(&mut *times.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(Outcome {
        turns: times.count(),
        period,
        times,
        busy: machine::busy()?.saturating_sub(busy),
        groups: target.groups().saturating_sub(groups),
        left,
    })
}

/// Fails with the first that fails, and drops the others.
async fn joined(mut workers: JoinSet<Result<()>>) -> Result<()> {
    while let Some(ended) = workers.join_next().await {
        ended??;
    }
    Ok(())
}

fn take(left: &AtomicU64) -> bool {
    left.try_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
}

fn note(times: &Mutex<Times>, time: Duration) {
    times.lock().unwrap_or_else(PoisonError::into_inner).note(time);
}

/// Without what is behind the point.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts are small")]
fn whole(number: f64) -> u64 {
    number.max(0.0) as u64
}
