//! A host inside the test.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use dormouse::model::Catalog;
use dormouse::{
    AgentSelector, BuildError, Faults, Host, HostBuilder, HostOptions, ManualClock, NewSession,
    OpenError, Pattern, Principal, SessionHandle, Store,
};
use dormouse_test_guests::TestGuest;

/// A host with an in-memory store, a clock that is turned by hand, and fixture guests by name.
pub struct TestHost {
    /// The host.
    pub host: Host,
    /// Its clock.
    pub clock: ManualClock,
}

impl TestHost {
    /// Start a host.
    pub async fn new() -> TestHost {
        TestHost::with(|_| {}).await
    }

    /// Start a host with some options changed.
    pub async fn with(change: impl FnOnce(&mut HostOptions)) -> TestHost {
        let clock = ManualClock::new();
        let host = Host::builder()
            .in_memory()
            .manual_clock(&clock)
            .compiled_cache(compiled_cache(), [7; 32])
            .configure(|options| {
                // Address space for few, so that many tests can run side by side.
                options.max_residents = 64;
                options.max_world_instances = 32;
                change(options);
            })
            .build()
            .await
            .expect("the host starts");
        TestHost { host, clock }
    }

    /// Start a host on a directory, to stop it and start another on the same.
    pub async fn on(directory: &std::path::Path, clock: &ManualClock) -> TestHost {
        TestHost::on_with(directory, clock, |_| {}).await
    }

    /// Start a host on a directory, with some options changed.
    pub async fn on_with(
        directory: &std::path::Path,
        clock: &ManualClock,
        change: impl FnOnce(&mut HostOptions),
    ) -> TestHost {
        let host = Host::builder()
            .data_dir(directory)
            .manual_clock(clock)
            .compiled_cache(compiled_cache(), [7; 32])
            .configure(change)
            .build()
            .await
            .expect("the host starts");
        TestHost { host, clock: clock.clone() }
    }

    /// Start a host on a directory, whose agents may ask these models.
    pub async fn thinking(
        directory: &std::path::Path,
        clock: &ManualClock,
        models: impl Fn() -> Catalog,
    ) -> TestHost {
        TestHost::built(directory, clock, |builder| builder.models(models())).await
    }

    /// The same with these faults.
    pub async fn faulty(
        directory: &std::path::Path,
        clock: &ManualClock,
        models: impl Fn() -> Catalog,
        faults: Arc<dyn Faults>,
    ) -> TestHost {
        let change = |builder: HostBuilder| builder.models(models()).faults(Arc::clone(&faults));
        TestHost::built(directory, clock, change).await
    }

    /// Start a host on a directory, built like this, once the host before has let go of it.
    pub async fn built(
        directory: &std::path::Path,
        clock: &ManualClock,
        change: impl Fn(HostBuilder) -> HostBuilder,
    ) -> TestHost {
        loop {
            let builder = Host::builder()
                .data_dir(directory)
                .manual_clock(clock)
                .compiled_cache(compiled_cache(), [7; 32]);
            match change(builder).build().await {
                Ok(host) => return TestHost { host, clock: clock.clone() },
                Err(BuildError::Store(OpenError::Locked { .. })) => {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Start a host on a store.
    pub async fn on_store(store: Arc<dyn Store>, clock: &ManualClock) -> TestHost {
        let host = Host::builder()
            .store(store)
            .manual_clock(clock)
            .compiled_cache(compiled_cache(), [7; 32])
            .configure(|options| {
                options.max_residents = 64;
                options.max_world_instances = 32;
            })
            .build()
            .await
            .expect("the host starts");
        TestHost { host, clock: clock.clone() }
    }

    /// The same host, for another principal.
    #[must_use]
    pub fn acting_as(&self, principal: &str) -> TestHost {
        let host = self.host.acting_as(Principal(principal.to_owned()));
        TestHost { host, clock: self.clock.clone() }
    }

    /// Upload a fixture under its name.
    pub async fn upload(&self, guest: &TestGuest) -> AgentSelector {
        let uploaded = self.host.agents().upload(guest.name, "1", guest.bytes).await;
        uploaded.expect("the fixture is an agent");
        format!("{}@1", guest.name).parse().expect("the name is a reference")
    }

    /// A new session with a fixture, changed from the defaults.
    pub async fn session_with(
        &self,
        guest: &TestGuest,
        change: impl FnOnce(&mut NewSession),
    ) -> SessionHandle {
        let agent = self.upload(guest).await;
        let mut new = NewSession::with_agent(agent).pattern(Pattern::LongRunning);
        change(&mut new);
        self.host.sessions().create(new).await.expect("the session is created")
    }

    /// A new long-running session with a fixture.
    pub async fn session(&self, guest: &TestGuest) -> SessionHandle {
        self.session_with(guest, |_| {}).await
    }

    /// A new session with an agent that comes with the host.
    pub async fn bundled(&self, agent: &str, pattern: Pattern) -> SessionHandle {
        let new = NewSession::with_agent(agent.parse().expect("a reference")).pattern(pattern);
        self.host.sessions().create(new).await.expect("the session is created")
    }

    /// Turn the clock.
    pub fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    /// Shut the host down. Fails the test if a task of the host has died.
    pub async fn shut_down(self) {
        self.host.shut_down().await.expect("the store closes");
    }
}

/// Wait until `condition` holds, without depending on how fast the machine is. Gives up after two
/// minutes, by panicking with what was waited for.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let wait = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let done = tokio::time::timeout(Duration::from_secs(120), wait).await;
    assert!(done.is_ok(), "this never happened: {what}");
}

/// Where the tests keep compiled agents, so that each is compiled once and not by each test.
#[must_use]
pub fn compiled_cache() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/tmp/compiled"))
}
