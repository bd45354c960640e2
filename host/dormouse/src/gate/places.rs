//! Places for calls of providers: each has as many as its operator says, and principals share them. One that nobody
//! shares with has all of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use dormouse_base::shares::{Callers, FairSemaphore};
use dormouse_domain::id::Principal;

/// The places of all providers.
pub(crate) struct ModelPlaces {
    state: Mutex<State>,
    /// How many principals ask for places.
    callers: Callers,
}

#[derive(Default)]
struct State {
    /// By the name of the provider.
    places: HashMap<String, Arc<FairSemaphore>>,
    /// The first principal that has asked for one.
    first: Option<Principal>,
}

impl Default for ModelPlaces {
    fn default() -> ModelPlaces {
        ModelPlaces { state: Mutex::default(), callers: Callers::one() }
    }
}

impl ModelPlaces {
    /// Those of the provider of this name, which has so many, for a session of this owner.
    pub(super) fn of(
        &self,
        provider: &str,
        max_calls: usize,
        owner: &Principal,
    ) -> Arc<FairSemaphore> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.first.get_or_insert_with(|| owner.clone()) != owner {
            self.callers.become_several();
        }
        if let Some(known) = state.places.get(provider) {
            return Arc::clone(known);
        }
        let new = Arc::new(FairSemaphore::new(max_calls, self.callers.clone()));
        state.places.insert(provider.to_owned(), Arc::clone(&new));
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    /// A permit, where there is one at once.
    fn permit(
        places: &ModelPlaces,
        owner: &Principal,
    ) -> Option<dormouse_base::shares::FairPermit> {
        let places = places.of("local", 4, owner);
        let mut waiting = pin!(places.wait(owner));
        match waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(permit) => Some(permit),
            Poll::Pending => None,
        }
    }

    #[test]
    fn one_owner_has_all_places_of_a_provider_until_another_asks() {
        let (places, one) = (ModelPlaces::default(), Principal::local());
        let other = Principal("other".to_owned());
        let all: Vec<_> = std::iter::from_fn(|| permit(&places, &one)).collect();
        assert_eq!(all.len(), 4);
        assert!(permit(&places, &other).is_none());
        drop(all);
        let half: Vec<_> = std::iter::from_fn(|| permit(&places, &one)).collect();
        assert_eq!(half.len(), 2);
        assert!(permit(&places, &other).is_some());
    }
}
