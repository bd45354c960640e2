//! Whether a store does what [`Store`] promises: random histories, played to it and to a few ordered
//! maps that say what it must answer.
//!
//! A backend gives a [`Fixture`] and calls [`check`] in one of its tests. That the suite finds what is
//! wrong with a store is shown by stores that each do one thing wrong (`memory::Flaw`).

pub mod examples;
mod model;
mod play;
pub mod samples;
mod sharing;
mod steps;

#[cfg(test)]
mod tests;

use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};

use self::model::Model;
use self::steps::Step;
use crate::{Store, StoreError, Transaction};
use dormouse_domain::id::Principal;

/// How many snapshots of a session the store of a fixture keeps.
pub const KEPT: usize = 3;

/// A store, and what only its own tests can do to it. It is empty at first, keeps [`KEPT`] snapshots of a
/// session, and all turns and events.
pub trait Fixture {
    /// The store.
    fn store(&self) -> &dyn Store;

    /// End whoever has it open, after [`Store::close`] or without, and open it again.
    fn reopen(&mut self, close: bool) -> impl Future<Output = Result<(), StoreError>>;

    /// A copy of what the store had at one moment, made while it goes on. `None`: there is no such thing.
    fn copy(&self) -> impl Future<Output = Result<Option<Self>, StoreError>>
    where
        Self: Sized;

    /// Wait until nothing is under way. Then the store is whole: it has so many snapshots of sessions, and
    /// so many templates, and nothing that none of them needs.
    ///
    /// # Panics
    /// Where it has not.
    fn audit(&mut self, snapshots: usize, templates: usize) -> impl Future<Output = ()>;
}

/// Play so many random histories, each to a store of its own.
///
/// # Errors
/// The shortest history found of which the store makes something else than it must, and what that is.
pub fn check<F: Fixture>(cases: u32, fixture: impl Fn() -> F) -> Result<(), String> {
    let config =
        Config { cases, max_shrink_iters: 200, failure_persistence: None, ..Config::default() };
    run(TestRunner::new(config), fixture)
}

/// As [`check`], but each run plays the same histories: whether they find a flaw that is known is not left
/// to chance. The history that finds it is not shortened.
#[cfg(test)]
fn check_the_same<F: Fixture>(cases: u32, fixture: impl Fn() -> F) -> Result<(), String> {
    let config =
        Config { cases, max_shrink_iters: 0, failure_persistence: None, ..Config::default() };
    let random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    run(TestRunner::new_with_rng(config, random), fixture)
}

fn run<F: Fixture>(mut runner: TestRunner, fixture: impl Fn() -> F) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let histories = proptest::collection::vec(steps::step(), 1..60);
    let played = runner.run(&histories, |steps| {
        let played = runtime.block_on(history(fixture(), steps));
        played.map_err(|error| TestCaseError::fail(error.to_string()))
    });
    played.map_err(|error| error.to_string())
}

async fn history<F: Fixture>(mut fixture: F, steps: Vec<Step>) -> Result<(), StoreError> {
    let mut model = Model::default();
    for step in steps {
        play::take(&mut fixture, &mut model, step).await?;
    }
    play::compare(fixture.store(), &model).await?;
    fixture.reopen(true).await?;
    play::compare(fixture.store(), &model).await?;
    // Nothing is lost and nothing is left: of what is there, and once all has gone.
    play::audit(&mut fixture, &model).await;
    let all: Vec<_> = model.sessions.keys().copied().collect();
    for id in all {
        fixture.store().commit(play::journal::removal(&model, id)).await?;
        model.remove(id);
    }
    play::lists::compare_statistics(fixture.store(), &model).await?;
    play::journal::compare_all(fixture.store(), &model).await?;
    for name in model.templates.keys() {
        let removal = Transaction::remove_template(Principal::local(), name.clone());
        fixture.store().commit(removal).await?;
    }
    for agent in &model.agents {
        let removal = Transaction::remove_agent(agent.reference.clone(), Vec::new());
        fixture.store().commit(removal).await?;
    }
    fixture.audit(0, 0).await;
    let mut end = fixture.store().end();
    end.borrow_and_update();
    fixture.store().close().await?;
    assert!(end.changed().await.is_err(), "nothing comes any more");
    Ok(())
}
