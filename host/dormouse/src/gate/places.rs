//! Places for calls of providers: each has as many as its operator says, and principals share them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use dormouse_base::shares::{Callers, FairSemaphore};
use dormouse_model::ModelRoute;

/// The places of all providers, by name.
#[derive(Default)]
pub(crate) struct ModelPlaces(Mutex<HashMap<String, Arc<FairSemaphore>>>);

impl ModelPlaces {
    /// Those of the provider of this route.
    pub(super) fn of(&self, route: &ModelRoute) -> Arc<FairSemaphore> {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = places.get(route.provider.name()) {
            return Arc::clone(known);
        }
        let new = Arc::new(FairSemaphore::new(route.max_calls, Callers::several()));
        places.insert(route.provider.name().to_owned(), Arc::clone(&new));
        new
    }
}
