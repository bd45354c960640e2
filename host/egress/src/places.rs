//! Places for exchanges: how many are under way, of all, to one host and of one principal.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use dormouse_base::shares::{Callers, FairPermit, FairSemaphore};
use dormouse_domain::egress::EgressHost;
use dormouse_domain::id::Principal;

/// The places of a host.
pub(crate) struct Places {
    all: FairSemaphore,
    of_each_host: usize,
    callers: Callers,
    by_host: Mutex<HashMap<EgressHost, Weak<FairSemaphore>>>,
}

/// The place of one exchange. Free again when it is dropped.
pub(crate) struct Place {
    _to_host: FairPermit,
    _of_host: Arc<FairSemaphore>,
    _of_all: FairPermit,
}

impl Places {
    pub(crate) fn new(all: usize, of_each_host: usize, callers: Callers) -> Places {
        let by_host = Mutex::default();
        Places { all: FairSemaphore::new(all, callers.clone()), of_each_host, callers, by_host }
    }

    /// Wait for a place. Who waits for a busy host takes none of the places to others.
    pub(crate) async fn wait(&self, principal: &Principal, host: &EgressHost) -> Place {
        let of_host = self.of_host(host);
        let to_host = of_host.wait(principal).await;
        let of_all = self.all.wait(principal).await;
        Place { _to_host: to_host, _of_host: of_host, _of_all: of_all }
    }

    fn of_host(&self, host: &EgressHost) -> Arc<FairSemaphore> {
        let mut by_host = self.by_host.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = by_host.get(host).and_then(Weak::upgrade) {
            return known;
        }
        // Those that nobody waits for or holds: so there are no more than exchanges.
        by_host.retain(|_, places| places.strong_count() > 0);
        let new = Arc::new(FairSemaphore::new(self.of_each_host, self.callers.clone()));
        by_host.insert(host.clone(), Arc::downgrade(&new));
        new
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    type Waiting<'p> = Pin<Box<dyn Future<Output = Place> + 'p>>;

    fn host(name: &str) -> EgressHost {
        EgressHost::parse(name).expect("it is a host")
    }

    fn poll(waiting: &mut Waiting<'_>) -> Option<Place> {
        match waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(place) => Some(place),
            Poll::Pending => None,
        }
    }

    #[test]
    fn one_principal_leaves_places_to_a_host_and_a_busy_host_leaves_places_to_others() {
        let places = Places::new(8, 4, Callers::several());
        let [ann, ben] = ["ann", "ben"].map(|name| Principal(name.to_owned()));
        let (busy, other) = (host("busy.example"), host("other.example"));
        let mut many: Vec<Waiting<'_>> =
            (0..10).map(|_| -> Waiting<'_> { Box::pin(places.wait(&ann, &busy)) }).collect();
        let held: Vec<Place> = many.iter_mut().filter_map(poll).collect();
        assert_eq!(held.len(), 2, "half of the places to a host");
        let mut bens: Waiting<'_> = Box::pin(places.wait(&ben, &busy));
        assert!(poll(&mut bens).is_some());
        let mut anns: Waiting<'_> = Box::pin(places.wait(&ann, &other));
        assert!(poll(&mut anns).is_some());
    }

    #[test]
    fn hosts_that_nobody_asks_any_more_are_forgotten() {
        let places = Places::new(8, 4, Callers::one());
        let ann = Principal::local();
        for host in ["a.example", "b.example", "c.example"].map(host) {
            let mut waiting: Waiting<'_> = Box::pin(places.wait(&ann, &host));
            assert!(poll(&mut waiting).is_some());
        }
        assert_eq!(places.by_host.lock().expect("nobody panics").len(), 1);
    }
}
