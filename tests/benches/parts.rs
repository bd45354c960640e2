//! The parts of the host, measured one by one through the façade, without HTTP.
//!
//! `memory/…` keeps the data on a file system in memory (`/dev/shm`), where to sync costs nothing:
//! what is left is the host's own work, encoding and the store included. `disk/…` is the same on a
//! disk, with every sync.

#![expect(clippy::disallowed_methods, reason = "to read the clock is what measuring is")]
#![expect(clippy::unwrap_used, reason = "a measurement that cannot go on ends")]

#[path = "parts/meter.rs"]
mod meter;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, SamplingMode, criterion_group, criterion_main};
use dormouse::{Host, NewSession, Pattern, SessionHandle, SessionQuery, Status};
use dormouse_test_guests as guests;
use dormouse_tests::scripted::{NAMES, scripted};
use dormouse_tests::test_host::compiled_cache;
use futures::future::try_join_all;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// A file system in memory, where the machine has one.
const MEMORY: &str = "/dev/shm";
/// Sessions among which is searched.
const MANY: usize = 10_000;
/// A state of 100 KB: so many notes of so many bytes.
const NOTES: usize = 50;
const NOTE_BYTES: usize = 2_000;

criterion_group! {
    name = parts;
    config = Criterion::default().warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(4));
    targets = in_memory, on_disk, snapshots, scripts, queries, uploads
}
criterion_main!(parts);

fn in_memory(criterion: &mut Criterion) {
    let directory = directory_in_memory();
    sessions(criterion.benchmark_group("memory"), directory.path());
}

fn on_disk(criterion: &mut Criterion) {
    let directory = tempfile::tempdir().unwrap();
    sessions(criterion.benchmark_group("disk"), directory.path());
}

fn sessions(mut group: BenchmarkGroup<'_, WallTime>, directory: &Path) {
    let runtime = runtime();
    let host = runtime.block_on(host_on(directory));
    let counter = runtime.block_on(session(&host, "counter"));
    let notepad = runtime.block_on(full_notepad(&host));
    runtime.block_on(counter.send("hello")).unwrap();
    group.bench_function("create", |bencher| {
        bencher.to_async(&runtime).iter(|| session(&host, "counter"));
    });
    for agent in ["echo", "counter"] {
        let resident = runtime.block_on(session(&host, agent));
        group.bench_function(format!("turn, resident {agent}"), |bencher| {
            bencher.to_async(&runtime).iter(async || resident.send("hello").await.unwrap());
        });
    }
    group.bench_function("sleep, wake and turn", |bencher| {
        bencher.to_async(&runtime).iter(async || {
            counter.sleep().await.unwrap();
            counter.send("hello").await.unwrap()
        });
    });
    for (name, session) in [("wake, small state", &counter), ("wake, 100 KB of state", &notepad)] {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|rounds| runtime.block_on(wakes(session, rounds)));
        });
    }
    group.finish();
    runtime.block_on(host.shut_down()).unwrap();
}

/// Agents in JavaScript and Python, where they are built.
fn scripts(criterion: &mut Criterion) {
    let runtime = runtime();
    let directory = directory_in_memory();
    let builder = Host::builder().data_dir(directory.path().join("data"));
    // What the tests have compiled is not compiled again.
    let host = runtime.block_on(builder.compiled_cache(compiled_cache(), [7; 32]).build()).unwrap();
    for name in NAMES {
        let guest = match scripted(name) {
            Ok(guest) => guest,
            Err(missing) => {
                println!("{missing}");
                continue;
            }
        };
        runtime.block_on(host.agents().upload(name, "1", guest.bytes)).unwrap();
        let session = runtime.block_on(session(&host, name));
        runtime.block_on(session.send("add buy milk")).unwrap();
        let mut group = criterion.benchmark_group(name);
        group.bench_function("turn, resident", |bencher| {
            bencher.to_async(&runtime).iter(async || session.send("count").await.unwrap());
        });
        group.bench_function("sleep, wake and turn", |bencher| {
            bencher.to_async(&runtime).iter(async || {
                session.sleep().await.unwrap();
                session.send("count").await.unwrap()
            });
        });
        group.bench_function("wake", |bencher| {
            bencher.iter_custom(|rounds| runtime.block_on(wakes(&session, rounds)));
        });
        group.finish();
    }
    runtime.block_on(host.shut_down()).unwrap();
}

/// How long so many wakes take, without the sleeps between them.
async fn wakes(session: &SessionHandle, rounds: u64) -> Duration {
    let mut time = Duration::ZERO;
    for _ in 0..rounds {
        session.sleep().await.unwrap();
        let begun = Instant::now();
        session.wake().await.unwrap();
        time += begun.elapsed();
    }
    time
}

/// What it takes to save a state and to put it back, by its size.
fn snapshots(criterion: &mut Criterion) {
    let runtime = runtime();
    let directory = directory_in_memory();
    let host = runtime.block_on(host_on(directory.path()));
    let guest = guests::KEEPS_BYTES;
    runtime.block_on(host.agents().upload(guest.name, guest.version, guest.bytes)).unwrap();
    let mut group = criterion.benchmark_group("snapshot");
    let counter = runtime.block_on(session(&host, "counter"));
    states(&mut group, &runtime, "of the counter", &counter);
    for mebibytes in [1.0_f64 / 16.0, 1.0, 10.0, 100.0] {
        if mebibytes > 1.0 {
            group.sample_size(10).sampling_mode(SamplingMode::Flat);
        }
        for kind in ["text", "random"] {
            let keeper = runtime.block_on(session(&host, "keeps_bytes"));
            let order = format!("{kind} {}", (mebibytes * 1024.0).round());
            runtime.block_on(keeper.send(order)).unwrap();
            states(&mut group, &runtime, &format!("of {mebibytes} MiB, {kind}"), &keeper);
            runtime.block_on(keeper.terminate("done")).unwrap();
        }
    }
    group.finish();
    runtime.block_on(host.shut_down()).unwrap();
}

fn states(
    group: &mut BenchmarkGroup<'_, WallTime>,
    runtime: &Runtime,
    what: &str,
    session: &SessionHandle,
) {
    if !runtime.block_on(session.send("change 1")).unwrap().is_durable() {
        println!("a state {what} is not saved");
        return;
    }
    for (name, order) in [("a change", "change 1"), ("100 changes", "change 100")] {
        group.bench_function(format!("save {what}, {name}"), |bencher| {
            bencher.iter_custom(|rounds| runtime.block_on(saves(session, order, rounds)));
        });
    }
    if what.ends_with("random") {
        group.bench_function(format!("save {what}, all changed"), |bencher| {
            bencher.iter_custom(|rounds| runtime.block_on(saves(session, "renew", rounds)));
        });
    }
    group.bench_function(format!("restore {what}"), |bencher| {
        bencher.iter_custom(|rounds| runtime.block_on(restores(session, rounds)));
    });
    group.bench_function(format!("sleep, wake and turn {what}"), |bencher| {
        bencher.to_async(runtime).iter(async || {
            session.sleep().await.unwrap();
            session.send("change 1").await.unwrap()
        });
    });
}

/// How long it takes to save the state after so many turns.
async fn saves(session: &SessionHandle, order: &str, rounds: u64) -> Duration {
    meter::taken("dormouse_save_seconds");
    for _ in 0..rounds {
        session.send(order).await.unwrap();
    }
    meter::taken("dormouse_save_seconds")
}

/// How long it takes to put the state back so many times.
async fn restores(session: &SessionHandle, rounds: u64) -> Duration {
    meter::taken("dormouse_restore_seconds");
    for _ in 0..rounds {
        session.sleep().await.unwrap();
        session.wake().await.unwrap();
    }
    meter::taken("dormouse_restore_seconds")
}

fn queries(criterion: &mut Criterion) {
    let runtime = runtime();
    let directory = directory_in_memory();
    let host = runtime.block_on(host_on(directory.path()));
    runtime.block_on(many_sessions(&host));
    let mut group = criterion.benchmark_group("list of 10000");
    let page = SessionQuery { limit: 50, ..SessionQuery::default() };
    let queries = [
        ("all", page.clone()),
        ("one user", SessionQuery { user_id: Some("user 7".to_owned()), ..page.clone() }),
        (
            "tags, pattern and status",
            SessionQuery {
                tags: vec!["odd".to_owned(), "none".to_owned()],
                pattern: Some(Pattern::Hybrid),
                status: Some(Status::Initializing),
                ..page.clone()
            },
        ),
        ("nothing", SessionQuery { user_id: Some("nobody".to_owned()), ..page.clone() }),
        ("the last page", SessionQuery { offset: MANY - 50, ..page }),
    ];
    for (name, query) in queries {
        group.bench_function(name, |bencher| {
            let sessions = host.sessions();
            bencher.to_async(&runtime).iter(async || sessions.list(query.clone()).await.unwrap());
        });
    }
    group.finish();
    runtime.block_on(host.shut_down()).unwrap();
}

fn uploads(criterion: &mut Criterion) {
    let runtime = runtime();
    let directory = tempfile::tempdir().unwrap();
    let host = runtime.block_on(host_on(directory.path()));
    let mut group = criterion.benchmark_group("upload");
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    // Across all samples: what was compiled once is known.
    let next = AtomicU64::new(0);
    group.bench_function("a component that is new", |bencher| {
        bencher.iter_custom(|rounds| runtime.block_on(new_components(&host, &next, rounds)));
    });
    let guest = guests::LOOPS_FOREVER;
    runtime.block_on(host.agents().upload(guest.name, "1", guest.bytes)).unwrap();
    group.sample_size(50);
    group.bench_function("the same again", |bencher| {
        let guest = guests::LOOPS_FOREVER;
        bencher
            .to_async(&runtime)
            .iter(async || host.agents().upload(guest.name, "1", guest.bytes).await.unwrap());
    });
    group.finish();
    runtime.block_on(host.shut_down()).unwrap();
}

async fn new_components(host: &Host, next: &AtomicU64, rounds: u64) -> Duration {
    let mut time = Duration::ZERO;
    for _ in 0..rounds {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let component = numbered(guests::LOOPS_FOREVER.bytes, number);
        let begun = Instant::now();
        host.agents().upload("new", &number.to_string(), component).await.unwrap();
        time += begun.elapsed();
    }
    time
}

/// The same component with a section that nobody reads, so that it is another one.
fn numbered(component: &[u8], number: u64) -> Vec<u8> {
    let name = b"number";
    let number = number.to_le_bytes();
    let mut section = vec![0, u8::try_from(1 + name.len() + number.len()).unwrap()];
    section.push(u8::try_from(name.len()).unwrap());
    section.extend_from_slice(name);
    section.extend_from_slice(&number);
    [component, &section].concat()
}

async fn many_sessions(host: &Host) {
    let all: Vec<usize> = (0..MANY).collect();
    let sessions = host.sessions();
    for some in all.chunks(250) {
        let created = some.iter().map(|number| {
            let mut new = NewSession::with_agent("counter".parse().unwrap());
            new.user_id = Some(format!("user {}", number % 100));
            new.tags = vec![if number % 2 == 0 { "even" } else { "odd" }.to_owned()];
            if number % 3 == 0 {
                new.pattern = Pattern::Hybrid;
            }
            sessions.create(new)
        });
        try_join_all(created).await.unwrap();
    }
}

async fn session(host: &Host, agent: &str) -> SessionHandle {
    let new = NewSession::with_agent(agent.parse().unwrap()).pattern(Pattern::LongRunning);
    host.sessions().create(new).await.unwrap()
}

async fn full_notepad(host: &Host) -> SessionHandle {
    let notepad = session(host, "notepad").await;
    for _ in 0..NOTES {
        notepad.send(format!("add {}", "x".repeat(NOTE_BYTES))).await.unwrap();
    }
    notepad
}

async fn host_on(directory: &Path) -> Host {
    Host::builder().data_dir(directory.join("data")).build().await.unwrap()
}

fn directory_in_memory() -> TempDir {
    tempfile::tempdir_in(MEMORY).or_else(|_| tempfile::tempdir()).unwrap()
}

/// Of those who call the host. Guests run on threads of the host's own.
fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}
