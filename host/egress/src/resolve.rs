//! Names of hosts become addresses: once for each request, so that what is checked is what is connected to.

use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::Arc;

use dormouse_base::shares::{Callers, FairSemaphore};
use dormouse_domain::id::Principal;

/// How many names are looked up at the same time. Each takes a thread, as long as the system takes.
const LOOKUPS: usize = 32;
/// The most addresses of a name that are looked at.
const MAX_ADDRESSES: usize = 16;

/// Knows the addresses of names.
pub trait Resolver: Send + Sync {
    /// The addresses of this host. May block: it is called on a thread of its own.
    ///
    /// # Errors
    /// There are none, or nobody knows.
    fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

/// The resolver of the operating system.
#[derive(Clone, Copy, Debug)]
pub struct SystemResolver;

impl Resolver for SystemResolver {
    fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        Ok((name, 0).to_socket_addrs()?.map(|address| address.ip()).collect())
    }
}

/// Looks names up, a few at a time.
pub(crate) struct Lookups {
    resolver: Arc<dyn Resolver>,
    places: FairSemaphore,
}

impl Lookups {
    pub(crate) fn new(resolver: Arc<dyn Resolver>, callers: Callers) -> Lookups {
        Lookups { resolver, places: FairSemaphore::new(LOOKUPS, callers) }
    }

    /// Let this resolver look names up.
    pub(crate) fn set_resolver(&mut self, resolver: Arc<dyn Resolver>) {
        self.resolver = resolver;
    }

    /// The addresses of this host, none where there are none.
    pub(crate) async fn addresses(&self, principal: &Principal, name: String) -> Vec<IpAddr> {
        // It goes with the thread: who does not wait any more does not end what the system does.
        let place = self.places.wait(principal).await;
        let resolver = Arc::clone(&self.resolver);
        let found = tokio::task::spawn_blocking(move || {
            let found = resolver.resolve(&name);
            drop(place);
            found
        });
        let mut addresses = found.await.ok().and_then(Result::ok).unwrap_or_default();
        addresses.truncate(MAX_ADDRESSES);
        addresses
    }
}
