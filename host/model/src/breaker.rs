//! Asks a provider, or one of its models, that does not work now and then, and not each time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::provider::{CallFailure, Charge};
use dormouse_base::circuit::Circuit;
use dormouse_domain::model::{ModelAnswer, ModelError};

/// Failures in a row after which a provider or a model is taken for broken.
const FAILURES: u32 = 5;
/// The most models of a provider that are known to fail. Anybody may name any.
const MODELS: usize = 256;

/// Whether a provider and its models work, as far as the last calls tell.
///
/// Five failures in a row open it for a second; then one call is let through, which closes it, or opens it
/// for twice as long, up to a minute. A model that fails is left alone by itself: the others of its provider may
/// work. All of them are left alone where no connection to the provider can be made.
#[derive(Debug, Default)]
pub(crate) struct Breakers(Mutex<Known>);

#[derive(Debug)]
struct Known {
    provider: Circuit,
    /// Those that have failed in their last call.
    models: HashMap<String, Circuit>,
}

impl Default for Known {
    fn default() -> Known {
        Known { provider: Circuit::opened_by(FAILURES), models: HashMap::new() }
    }
}

/// The breaker of the calls of one model.
#[derive(Clone, Debug)]
pub struct Breaker {
    /// `None`: it never opens.
    breakers: Option<Arc<Breakers>>,
    model: String,
}

/// A provider or a model is left alone for this much longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    /// How long.
    pub retry_after: Duration,
}

/// What a call has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// The model works.
    Works,
    /// The model does not work.
    ModelFails,
    /// No connection to the provider can be made.
    NotReached,
    /// Nothing.
    Nothing,
}

impl Shown {
    /// What a call has shown that came to this.
    #[must_use]
    pub fn by(answered: &Result<ModelAnswer, CallFailure>) -> Shown {
        let failure = match answered {
            Ok(_) => return Shown::Works,
            Err(failure) => failure,
        };
        match failure.error {
            _ if failure.charge == Charge::NotReached => Shown::NotReached,
            ModelError::Invalid(_)
            | ModelError::ContextTooLong(_)
            | ModelError::BudgetExceeded(_)
            | ModelError::NotAllowed(_)
            | ModelError::Refused(_) => Shown::Works,
            ModelError::Overloaded { .. }
            | ModelError::Unavailable(_)
            | ModelError::Interrupted { .. } => Shown::ModelFails,
            ModelError::RateLimited { .. } | ModelError::UnknownOutcome => Shown::Nothing,
        }
    }
}

impl Breaker {
    /// That of a model among those of its provider.
    pub(crate) fn new(breakers: Option<Arc<Breakers>>, model: &str) -> Breaker {
        Breaker { breakers, model: model.to_owned() }
    }

    /// Ask for a call, at this time of the monotonic clock. Each call that is let through ends with
    /// [`Breaker::note`].
    ///
    /// # Errors
    /// Where the provider or the model is left alone.
    pub fn admit(&self, now: Duration) -> Result<(), Open> {
        let Some(breakers) = &self.breakers else { return Ok(()) };
        let mut known = breakers.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Known { provider, models } = &mut *known;
        let mut both = [Some(provider), models.get_mut(&self.model)];
        let wait = both.iter().flatten().filter_map(|circuit| circuit.wait(now)).max();
        if let Some(retry_after) = wait {
            return Err(Open { retry_after });
        }
        both.iter_mut().flatten().for_each(|circuit| circuit.begin());
        Ok(())
    }

    /// A call is over at this time, and has shown this.
    pub fn note(&self, now: Duration, shown: Shown) {
        let Some(breakers) = &self.breakers else { return };
        let mut known = breakers.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.provider.end();
        if let Some(model) = known.models.get_mut(&self.model) {
            model.end();
        }
        match shown {
            Shown::Nothing => {}
            Shown::Works => {
                known.provider.close();
                known.models.remove(&self.model);
            }
            Shown::NotReached => known.provider.fail(now),
            Shown::ModelFails => {
                known.provider.close();
                known.fail(&self.model, now);
            }
        }
    }
}

impl Known {
    fn fail(&mut self, model: &str, now: Duration) {
        if let Some(circuit) = self.models.get_mut(model) {
            return circuit.fail(now);
        }
        if self.models.len() >= MODELS {
            let least = self.models.iter().min_by_key(|(_, circuit)| circuit.failures());
            let least = least.map(|(model, _)| model.clone());
            least.and_then(|model| self.models.remove(&model));
        }
        let mut circuit = Circuit::opened_by(FAILURES);
        circuit.fail(now);
        self.models.insert(model.to_owned(), circuit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn breaker(model: &str) -> Breaker {
        Breaker::new(Some(Arc::default()), model)
    }

    fn of_same_provider(breaker: &Breaker, model: &str) -> Breaker {
        Breaker::new(breaker.breakers.clone(), model)
    }

    #[test]
    fn five_failures_in_a_row_open_it_and_a_success_closes_it() {
        let breaker = breaker("model");
        for _ in 0..4 {
            breaker.note(at(0), Shown::ModelFails);
        }
        breaker.note(at(0), Shown::Works);
        for _ in 0..5 {
            assert_eq!(breaker.admit(at(0)), Ok(()));
            breaker.note(at(0), Shown::ModelFails);
        }
        assert_eq!(breaker.admit(at(400)), Err(Open { retry_after: at(600) }));
        assert_eq!(breaker.admit(at(1_000)), Ok(()));
        assert!(breaker.admit(at(1_000)).is_err(), "one call tries it");
        breaker.note(at(1_000), Shown::Works);
        assert_eq!(breaker.admit(at(1_000)), Ok(()));
    }

    #[test]
    fn it_stays_open_twice_as_long_after_each_failure_up_to_a_minute() {
        let breaker = breaker("model");
        let mut now = at(0);
        let mut rests = Vec::new();
        for _ in 0..5 {
            breaker.note(now, Shown::ModelFails);
        }
        for _ in 0..8 {
            let Open { retry_after } = breaker.admit(now).unwrap_err();
            rests.push(retry_after.as_secs());
            now += retry_after;
            assert_eq!(breaker.admit(now), Ok(()));
            breaker.note(now, Shown::ModelFails);
        }
        assert_eq!(rests, [1, 2, 4, 8, 16, 32, 60, 60]);
    }

    #[test]
    fn a_call_that_shows_nothing_lets_the_next_try() {
        let breaker = breaker("model");
        for _ in 0..5 {
            breaker.note(at(0), Shown::ModelFails);
        }
        assert_eq!(breaker.admit(at(1_000)), Ok(()));
        breaker.note(at(1_000), Shown::Nothing);
        assert_eq!(breaker.admit(at(1_000)), Ok(()));
    }

    #[test]
    fn a_model_that_fails_shuts_no_other_off_and_a_provider_that_is_not_reached_all_of_them() {
        let dead = breaker("dead");
        let other = of_same_provider(&dead, "other");
        for _ in 0..5 {
            dead.note(at(0), Shown::ModelFails);
        }
        assert!(dead.admit(at(0)).is_err());
        assert_eq!(other.admit(at(0)), Ok(()));
        for _ in 0..5 {
            other.note(at(0), Shown::NotReached);
        }
        let third = of_same_provider(&dead, "third");
        assert!(other.admit(at(0)).is_err() && third.admit(at(0)).is_err());
        assert_eq!(third.admit(at(1_000)), Ok(()));
        assert!(other.admit(at(1_000)).is_err(), "one call tries it");
        third.note(at(1_000), Shown::Works);
        assert_eq!(other.admit(at(1_000)), Ok(()));
    }

    #[test]
    fn names_that_somebody_makes_up_take_no_room_without_bound() {
        let dead = breaker("dead");
        for _ in 0..5 {
            dead.note(at(0), Shown::ModelFails);
        }
        for number in 0..10_000 {
            of_same_provider(&dead, &number.to_string()).note(at(0), Shown::ModelFails);
        }
        assert!(dead.admit(at(0)).is_err(), "what fails most is not forgotten");
        let known = dead.breakers.as_ref().unwrap().0.lock().unwrap();
        assert_eq!(known.models.len(), MODELS);
    }
}
