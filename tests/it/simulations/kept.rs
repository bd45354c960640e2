//! Worlds that a host keeps: they are started, paused, changed, forked and compared, and go on after a restart.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use dormouse::world_spec::{Budget, Change, Deed, ParameterSpec, ProgramStep};
use dormouse::{
    CommitAttempt, CommitFault, CommitKind, Faults, ManualClock, NewBranch, PauseCause,
    SimulationError, SimulationHandle, SimulationStatus, WorldSpec,
};
use dormouse_test_guests as guests;
use dormouse_tests::TestHost;

/// People of whom a few are ill, so that something happens for a while.
fn epidemic(ticks: u64) -> WorldSpec {
    // Where it is long, its end is quiet.
    let every = if ticks > 100 { 1_000 } else { 1 };
    let text = format!(
        r#"
        name = "epidemic"
        seed = 5
        ticks = {ticks}
        schedule = "by-event"
        aggregates = [{{ name = "ill", of = "people.state", is = {{ share = 1 }}, every = {every} }}]

        [[members]]
        role = "people"
        agent = "epidemic"
        count = 2000
        rows = 300
        parameters = {{ transmission = 0.3 }}
        attributes = {{ infected = {{ exactly = 5 }} }}
        topology = {{ kind = "random", p = 0.003 }}
        "#
    );
    WorldSpec::from_toml(&text).unwrap()
}

fn transmission(value: f64) -> Change {
    let parameters = [("transmission".to_owned(), ParameterSpec::Number(value))].into();
    Change { role: "people".to_owned(), parameters, ..Change::default() }
}

async fn kept(test: &TestHost, spec: WorldSpec) -> SimulationHandle {
    test.host.simulations().create(spec).await.unwrap()
}

async fn completed(world: &SimulationHandle) -> [u8; 32] {
    world.start(None).await.unwrap();
    let record = world.wait().await;
    assert_eq!(record.status, SimulationStatus::Completed, "{:?}", record.reason);
    record.fingerprint.unwrap()
}

#[tokio::test]
async fn a_world_goes_on_step_by_step_and_is_over_with_its_last_tick() {
    let test = TestHost::new().await;
    let whole = completed(&kept(&test, epidemic(12)).await).await;
    let world = kept(&test, epidemic(12)).await;
    assert_eq!(world.record().status, SimulationStatus::Created);
    for ticks in [1, 4, 5] {
        world.step(ticks).await.unwrap();
        let record = world.wait().await;
        assert_eq!(record.status, SimulationStatus::Paused(PauseCause::Stepped));
        assert_eq!(record.fingerprint, None);
    }
    assert_eq!(world.record().progress.ticks, 10);
    world.step(99).await.unwrap();
    let record = world.wait().await;
    assert_eq!((record.status, record.fingerprint), (SimulationStatus::Completed, Some(whole)));
    let over = world.start(None).await.unwrap_err();
    assert!(over.to_string().contains("completed: fork it"), "{over}");
    let ticks = world.ticks(0, 99).await.unwrap();
    assert_eq!((ticks.len(), ticks[11].hash), (12, record.progress.hash));
    assert_eq!(ticks.iter().map(|tick| tick.steps).sum::<u64>(), record.progress.steps);
    assert_eq!(world.ticks(12, 99).await.unwrap(), []);
    let bundle = world.bundle().await.unwrap();
    assert_eq!(test.host.simulations().verify(&bundle).await.unwrap(), None);
}

#[tokio::test]
async fn what_is_done_to_a_world_is_a_part_of_it() {
    let test = TestHost::new().await;
    let planned = {
        let mut spec = epidemic(12);
        let deed = Deed::Set(transmission(0.9));
        spec.program.push(ProgramStep { at: 4, deed });
        completed(&kept(&test, spec).await).await
    };
    let world = kept(&test, epidemic(12)).await;
    world.step(4).await.unwrap();
    world.wait().await;
    assert_eq!(world.set(transmission(0.9)).await.unwrap(), 4);
    assert_eq!(completed(&world).await, planned);
    let untouched = kept(&test, epidemic(12)).await;
    assert_ne!(completed(&untouched).await, planned);
    let difference = untouched.difference(&world).await.unwrap();
    assert_eq!((difference.compared, difference.first), (12, Some(4)));
    // Whoever verifies it knows what was done.
    let bundle = world.bundle().await.unwrap();
    assert_eq!(bundle.spec.program.len(), 1);
    assert_eq!(test.host.simulations().verify(&bundle).await.unwrap(), None);

    let nobody = Change { role: "nobody".to_owned(), ..transmission(0.1) };
    let fresh = kept(&test, epidemic(12)).await;
    let error = fresh.set(nobody).await.unwrap_err().to_string();
    assert!(error.contains("role: there is no such role, but people"), "{error}");
    let over = world.set(transmission(0.1)).await.unwrap_err();
    assert!(matches!(over, SimulationError::Status { .. }));
}

#[tokio::test]
async fn branches_share_what_was_before_and_go_their_own_ways() {
    let test = TestHost::new().await;
    let world = kept(&test, epidemic(20)).await;
    let whole = completed(&world).await;
    let branch = |name: &str, value| NewBranch {
        name: Some(name.to_owned()),
        set: vec![transmission(value)],
        send: Vec::new(),
    };
    let branches = vec![NewBranch::default(), branch("more", 0.6), branch("none", 0.0)];
    let forks = world.fork(Some(6), branches).await.unwrap();
    let mut results = Vec::new();
    for fork in &forks {
        assert_eq!(fork.record().forked_from, Some((world.id(), 6)));
        assert_eq!(fork.ticks(0, 99).await.unwrap(), world.ticks(0, 6).await.unwrap());
        results.push(completed(fork).await);
    }
    assert_eq!(results[0], whole, "nothing was changed");
    assert_ne!(results[1], whole);
    let difference = world.difference(&forks[1]).await.unwrap();
    assert_eq!(difference.first, Some(6));
    let (ill, of_fork) = difference.aggregates["ill"];
    assert!(ill.is_some() && of_fork.is_some());
    let none = forks[2].ticks(8, 1).await.unwrap();
    assert_eq!(none[0].aggregates, [(0, Some(0.0))], "nobody has infected anybody");

    let late = world.fork(Some(20), vec![NewBranch::default()]).await.unwrap_err().to_string();
    assert!(late.contains("has 20 ticks behind it"), "{late}");
    // Forks have what they share after the world is gone.
    let again = forks[1].fork(Some(3), vec![NewBranch::default()]).await.unwrap().remove(0);
    world.delete().await.unwrap();
    forks[1].delete().await.unwrap();
    assert!(matches!(test.host.simulations().get(world.id()), Err(SimulationError::NotFound(_))));
    assert_eq!(completed(&again).await, results[1]);
    assert!(test.host.store().check().await.unwrap().findings.is_empty());
}

#[tokio::test]
async fn a_budget_that_is_reached_pauses_a_world_and_more_lets_it_go_on() {
    let test = TestHost::new().await;
    let world = kept(&test, epidemic(12)).await;
    let whole = completed(&world).await;
    let fuel = world.record().progress.fuel;
    let mut spec = epidemic(12);
    spec.budget.fuel = Some(fuel / 3);
    let world = kept(&test, spec).await;
    let mut pauses = 0;
    let mut budget = None;
    loop {
        world.start(budget).await.unwrap();
        let record = world.wait().await;
        if record.status == SimulationStatus::Completed {
            assert_eq!(record.fingerprint, Some(whole));
            break;
        }
        assert_eq!(record.status, SimulationStatus::Paused(PauseCause::Fuel));
        assert!(record.reason.as_deref().unwrap().contains("units of fuel of its budget"));
        pauses += 1;
        let fuel = Some(fuel / 3 * (pauses + 1) + 1_000);
        budget = Some(Budget { fuel, ..Budget::default() });
    }
    assert!((2..5).contains(&pauses), "{pauses}");

    let mut spec = epidemic(12);
    spec.budget.wall_ms = Some(0);
    let world = kept(&test, spec).await;
    world.start(None).await.unwrap();
    let record = world.wait().await;
    assert_eq!(record.status, SimulationStatus::Paused(PauseCause::WallTime));
    assert_eq!(record.progress.ticks, 0);
}

#[tokio::test]
async fn a_member_that_never_comes_to_an_end_is_stopped_by_fuel_and_by_its_owner() {
    let test = TestHost::new().await;
    test.upload(&guests::ACTS_IN_WORLDS).await;
    let looping = |budget: &str| {
        let text = format!(
            r#"
            ticks = 3
            budget = {budget}
            members = [{{ role = "a", agent = "acts_in_worlds", count = 10, parameters = {{ act = "loop" }} }}]
            "#
        );
        WorldSpec::from_toml(&text).unwrap()
    };
    let world = kept(&test, looping("{ fuel = 10_000_000 }")).await;
    world.start(None).await.unwrap();
    let record = world.wait().await;
    assert_eq!(record.status, SimulationStatus::Paused(PauseCause::Fuel));
    assert_eq!(record.progress.ticks, 0);

    let world = kept(&test, looping("{}")).await;
    world.start(None).await.unwrap();
    let paused = tokio::spawn({
        let world = world.clone();
        async move { world.pause().await }
    });
    while !paused.is_finished() {
        test.clock.advance(Duration::from_secs(1));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let record = paused.await.unwrap().unwrap();
    assert_eq!(record.status, SimulationStatus::Paused(PauseCause::Requested));
    world.start(None).await.unwrap();
    let deleted = tokio::spawn(async move { world.delete().await });
    while !deleted.is_finished() {
        test.clock.advance(Duration::from_secs(1));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    deleted.await.unwrap().unwrap();
}

#[tokio::test]
async fn members_that_do_what_cannot_be_done_fail_their_world_and_leave_what_was_before() {
    let test = TestHost::new().await;
    test.upload(&guests::ACTS_IN_WORLDS).await;
    let spec = WorldSpec::from_toml(
        r#"
        ticks = 3
        members = [{ role = "a", agent = "acts_in_worlds", count = 10, parameters = { act = "trap" } }]
        "#,
    );
    let world = kept(&test, spec.unwrap()).await;
    world.start(None).await.unwrap();
    let record = world.wait().await;
    assert_eq!(record.status, SimulationStatus::Failed);
    let reason = record.reason.clone().unwrap();
    assert!(reason.contains("tick 0: members of the role `a` failed"), "{reason}");
    // A parameter that no population takes fails it as well, and a fork begins where it was.
    let spec = WorldSpec::from_toml(
        "ticks = 3\nmembers = [{ role = \"a\", agent = \"wealth\", count = 10 }]",
    );
    let world = kept(&test, spec.unwrap()).await;
    world.step(2).await.unwrap();
    world.wait().await;
    let parameters = [("law".to_owned(), ParameterSpec::Text("split".to_owned()))].into();
    world.set(Change { role: "a".to_owned(), parameters, ..Change::default() }).await.unwrap();
    world.start(None).await.unwrap();
    let record = world.wait().await;
    assert_eq!((record.status, record.progress.ticks), (SimulationStatus::Failed, 2));
    let reason = record.reason.clone().unwrap();
    assert!(reason.contains("parameters of this population stay as they are"), "{reason}");
}

#[tokio::test]
async fn worlds_go_on_by_themselves_after_a_restart_and_keep_what_they_were() {
    let (root, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let test = TestHost::on(root.path(), &clock).await;
    let whole = completed(&kept(&test, epidemic(40)).await).await;
    let (running, paused) = (kept(&test, epidemic(40)).await, kept(&test, epidemic(40)).await);
    paused.step(7).await.unwrap();
    paused.wait().await;
    running.start(None).await.unwrap();
    let (running, paused) = (running.id(), paused.id());
    test.host.shut_down().await.unwrap();
    drop(test);

    let test = TestHost::built(root.path(), &clock, |builder| builder).await;
    let get = |id| test.host.simulations().get(id).unwrap();
    assert_eq!(get(running).wait().await.fingerprint, Some(whole));
    let record = get(paused).record();
    assert_eq!(record.status, SimulationStatus::Paused(PauseCause::Stepped));
    assert_eq!((record.progress.ticks, record.name.as_str()), (7, "epidemic"));
    assert_eq!(completed(&get(paused)).await, whole);
    test.host.shut_down().await.unwrap();
}

#[tokio::test]
async fn members_are_told_as_they_are_whether_their_world_runs_or_not() {
    let test = TestHost::new().await;
    let world = kept(&test, epidemic(9)).await;
    let before = world.members("people", 0, 9_999).await.unwrap();
    assert_eq!((before.ticks, before.size), (0, 2000));
    assert_eq!((before.columns[0].0.as_str(), before.columns[0].1.len()), ("state", 2000));
    world.step(5).await.unwrap();
    world.wait().await;
    let after = world.members("people", 0, 9_999).await.unwrap();
    assert_eq!(after.ticks, 5);
    assert_ne!(after.columns, before.columns);
    let mut same = test.host.simulations().make(epidemic(9)).await.unwrap();
    same.run(5).await.unwrap();
    assert_eq!(same.columns("people").await.unwrap(), after.columns);
    // Over the border of two instances, and behind the last.
    let some = world.members("people", 295, 10).await.unwrap();
    let part = after.columns[0].1.as_slice().part(295..305).to_owned();
    assert_eq!(some.columns, [("state".to_owned(), part)]);
    assert_eq!(world.members("people", 2_000, 10).await.unwrap().columns[0].1.len(), 0);
    let error = world.members("nobody", 0, 1).await.unwrap_err().to_string();
    assert!(error.contains("role: there is no such role, but people"), "{error}");
}

#[tokio::test]
async fn a_world_belongs_to_its_owner() {
    let test = TestHost::new().await;
    let (ann, bob) = (test.acting_as("ann"), test.acting_as("bob"));
    let world = kept(&ann, epidemic(3)).await;
    assert!(matches!(bob.host.simulations().get(world.id()), Err(SimulationError::NotFound(_))));
    assert_eq!(bob.host.simulations().list(None, 9).total, 0);
    let second = kept(&ann, epidemic(3)).await;
    let page = ann.host.simulations().list(None, 1);
    assert_eq!((page.total, page.next), (2, Some(world.id())));
    let page = ann.host.simulations().list(page.next, 1);
    assert_eq!((page.simulations[0].id, page.next), (second.id(), None));
}

/// No progress of a world can be written.
struct FullDisk;

impl Faults for FullDisk {
    fn commit(&self, commit: CommitAttempt) -> Option<CommitFault> {
        (commit.kind == CommitKind::SimulationTicks).then_some(CommitFault::Full)
    }
}

#[tokio::test]
async fn a_disk_that_is_full_pauses_a_world_where_its_log_ends() {
    let clock = ManualClock::new();
    let root = tempfile::tempdir().unwrap();
    let test = TestHost::built(root.path(), &clock, |builder| {
        builder.faults(std::sync::Arc::new(FullDisk))
    })
    .await;
    let world = kept(&test, epidemic(9)).await;
    world.start(None).await.unwrap();
    let record = world.wait().await;
    assert_eq!(record.status, SimulationStatus::Paused(PauseCause::Host));
    assert_eq!(record.progress.ticks, 0, "nothing is told that is not kept");
    assert!(record.reason.as_deref().unwrap().contains("disk"), "{:?}", record.reason);
    let id = world.id();
    drop((world, test));
    let test = TestHost::built(root.path(), &clock, |builder| builder).await;
    let world = test.host.simulations().get(id).unwrap();
    let record = world.wait().await;
    assert_eq!(record.status, SimulationStatus::Completed, "{:?}", record.reason);
}

/// One write of what has come of ticks fails: that of this number.
struct OneFull(AtomicU32, u32);

impl Faults for OneFull {
    fn commit(&self, commit: CommitAttempt) -> Option<CommitFault> {
        let is_it = commit.kind == CommitKind::SimulationTicks
            && self.0.fetch_add(1, Ordering::Relaxed) == self.1;
        is_it.then_some(CommitFault::Full)
    }
}

#[tokio::test]
async fn a_write_that_fails_takes_what_came_behind_it_along_and_nothing_is_lost() {
    let whole = {
        let test = TestHost::new().await;
        completed(&kept(&test, epidemic(9_000)).await).await
    };
    // Ticks are written 4,096 at a time, or once a second.
    for failing in 0..3 {
        let (root, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
        let faults = Arc::new(OneFull(AtomicU32::new(0), failing));
        let test = TestHost::built(root.path(), &clock, |builder| builder.faults(faults.clone()));
        let test = test.await;
        let world = kept(&test, epidemic(9_000)).await;
        world.start(None).await.unwrap();
        let record = world.wait().await;
        assert_eq!(record.status, SimulationStatus::Paused(PauseCause::Host));
        let mut read = 0;
        while read < record.progress.ticks {
            read += world.ticks(read, 9_000).await.unwrap().len() as u64;
        }
        assert_eq!(read, record.progress.ticks);
        assert_eq!(completed(&world).await, whole);
        test.host.shut_down().await.unwrap();
    }
}

#[tokio::test]
async fn where_a_world_is_to_stand_still_outlives_its_host() {
    let (root, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let start = || TestHost::built(root.path(), &clock, |builder| builder);
    let test = start().await;
    let mut spec = epidemic(40_000);
    for at in [0, 30_000] {
        spec.program.push(ProgramStep { at, deed: Deed::Pause });
    }
    let world = kept(&test, spec).await;
    world.start(None).await.unwrap();
    let record = world.wait().await;
    assert_eq!(record.status, SimulationStatus::Paused(PauseCause::Program));
    assert_eq!(record.progress.ticks, 0, "a program may pause before the first tick");
    world.step(20_000).await.unwrap();
    let id = world.id();
    drop((world, test));
    let test = start().await;
    let world = test.host.simulations().get(id).unwrap();
    let record = world.wait().await;
    assert_eq!(record.status, SimulationStatus::Paused(PauseCause::Stepped));
    assert_eq!(record.progress.ticks, 20_000);
    world.start(None).await.unwrap();
    drop((world, test));
    let test = start().await;
    let world = test.host.simulations().get(id).unwrap();
    let record = world.wait().await;
    assert_eq!(record.status, SimulationStatus::Paused(PauseCause::Program));
    assert_eq!(record.progress.ticks, 30_000);
    // A fork is paused there anew.
    let fork = world.fork(None, vec![NewBranch::default()]).await.unwrap().remove(0);
    fork.start(None).await.unwrap();
    assert_eq!(fork.wait().await.status, SimulationStatus::Paused(PauseCause::Program));
    completed(&world).await;
    test.host.shut_down().await.unwrap();
}

#[tokio::test]
async fn a_world_that_is_changed_while_it_runs_goes_on() {
    let test = TestHost::new().await;
    let world = kept(&test, epidemic(50_000)).await;
    world.start(None).await.unwrap();
    let at = world.set(transmission(0.5)).await.unwrap();
    let record = world.wait().await;
    assert_eq!(record.status, SimulationStatus::Completed, "{:?}", record.reason);
    assert_eq!(world.spec().await.unwrap().program[0].at, at);
    let bundle = world.bundle().await.unwrap();
    assert_eq!(test.host.simulations().verify(&bundle).await.unwrap(), None);
}

#[tokio::test]
async fn a_member_that_publishes_for_ever_keeps_nobody_waiting() {
    let test = TestHost::new().await;
    test.upload(&guests::ACTS_IN_WORLDS).await;
    let spec = WorldSpec::from_toml(
        r#"
        ticks = 3
        members = [{ role = "a", agent = "acts_in_worlds", count = 10, parameters = { act = "publish for ever" } }]
        "#,
    );
    let world = kept(&test, spec.unwrap()).await;
    world.start(None).await.unwrap();
    // The fingerprint of the last tick reads all columns.
    while world.record().progress.ticks < 3 && world.record().status == SimulationStatus::Running {
        test.clock.advance(Duration::from_secs(1));
        tokio::time::sleep(Duration::from_millis(5)).await;
        if test.clock.now().0 > 1_893_456_060_000 {
            break;
        }
    }
    let stopped = tokio::spawn({
        let world = world.clone();
        async move { world.stop().await }
    });
    while !stopped.is_finished() {
        test.clock.advance(Duration::from_secs(1));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    stopped.await.unwrap().unwrap();
    assert_eq!(world.record().status, SimulationStatus::Stopped);
}
