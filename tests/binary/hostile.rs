//! Clients that behave as badly as they can: the host goes on, takes no more memory than it may, and
//! answers everybody else.
//!
//! How long others wait meanwhile is measured by `tests/bench --only hostile`, with the same clients.

use std::sync::Arc;
use std::time::Duration;

use dormouse_tests::Server;
use dormouse_tests::hostile::{ATTACKS, BUDGET, Caller, Neighbours, Stage, Watch, arguments};
use dormouse_tests::test_host::eventually;
use tokio::runtime::Handle;

use crate::DORMOUSE;
use crate::operator::is_well;

/// How long each attack goes on.
const TIME: Duration = Duration::from_millis(200);
/// One of how many clients of an attack is there: they are here to be borne, and not to be measured.
const FEWER: usize = 4;
/// What the process may take beyond what it took before and what is charged to the budget, in bytes:
/// connections, threads, what an allocator keeps, and a body that is moved to a larger place as it grows.
/// Nothing bounds the sum of these by its own; 60 MB were the most of some twenty runs, and 84 MB with all other tests
/// beside, while a new way past the budget would soon take more than this.
const OVERHEAD: u64 = 112 << 20;
/// The most that the store writes at once, in bytes.
const GROUP: u64 = 32 << 20;
/// The most that commits take until they are applied: a quarter of the budget, and one group beyond it in
/// each half of the overlay.
const OVERLAY: u64 = BUDGET / 4 + 2 * GROUP;
/// Where turns are taken, what the store takes for their commits, which is not charged: the overlay, the
/// group that gathers meanwhile, and the pages of the index.
const COMMITS: u64 = OVERLAY + GROUP + BUDGET / 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_clients_do_their_neighbours_are_answered_and_memory_is_bounded() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let arguments = arguments();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let server = Server::start(DORMOUSE, &data, &arguments).unwrap();
    let stage = Arc::new(Stage::prepare(&server).await.unwrap());
    let neighbours = Neighbours::begin(&Handle::current(), Caller::all(&stage));
    let watch = Watch::new(server.client(), stage.pid);
    let first = watch.now().await.unwrap();
    for attack in ATTACKS {
        let name = attack.name;
        let before = watch.now().await.unwrap();
        let billed = stage.bill().await.unwrap();
        let running = attack.with(attack.clients / FEWER).begin(&stage);
        let most = watch.look(TIME).await.unwrap_or_else(|error| panic!("{name}: {error:#}"));
        running.end().await;
        let overhead = if attack.billed { OVERHEAD + COMMITS } else { OVERHEAD };
        let bound = before.resident + most.charged.saturating_sub(before.charged) + overhead;
        assert!(most.resident <= bound, "{name}: {most:?}, and before {before:?}");
        let bound = first.resident + BUDGET + OVERHEAD + COMMITS;
        assert!(most.resident <= bound, "{name}: {most:?}, and at first {first:?}");
        assert!(most.charged <= BUDGET && most.overlay <= OVERLAY, "{name}: {most:?}");
        let noted = neighbours.take();
        assert_eq!(noted.failures, [""; 0], "{name}: neighbours are not answered");
        assert!(!noted.times.is_empty(), "{name}: neighbours take no turn");
        // Turns that go on are billed when they are over.
        let pays = async || !attack.billed || stage.bill().await.unwrap() > billed;
        eventually(&format!("{name} is paid for"), pays).await;
    }
    neighbours.end().await;
    assert_eq!(server.terminate().unwrap(), Some(0));
    is_well(&data);
}
