//! Experiments: one world with many parameters and seeds, run after run, also where hosts end meanwhile.

use std::time::Duration;

use dormouse::world_spec::Budget;
use dormouse::{
    Experiment, ExperimentHandle, ExperimentRecord, ManualClock, NewExperiment, PauseCause, Run,
    RunResult, SimulationError, SimulationStatus, WorldSpec,
};
use dormouse_tests::TestHost;
use serde_json::{Value, json};

/// People of whom a few are ill.
fn epidemic() -> WorldSpec {
    WorldSpec::from_toml(
        r#"
        name = "epidemic"
        ticks = 12
        schedule = "by-event"
        aggregates = [
            { name = "ill", of = "people.state", is = { share = 1 } },
            { name = "over", of = "people.state", is = { share = 2 }, every = 5 },
        ]

        [[members]]
        role = "people"
        agent = "epidemic"
        count = 300
        rows = 100
        parameters = { transmission = 0.3 }
        attributes = { infected = { exactly = 5 } }
        topology = { kind = "random", p = 0.02 }
        "#,
    )
    .unwrap()
}

fn experiment(document: Value) -> Experiment {
    serde_json::from_value(document).unwrap()
}

/// Three transmissions, `replicates` times each.
fn transmissions(replicates: u32) -> Experiment {
    let values = json!({ "from": 0.1, "to": 0.3, "count": 3 });
    experiment(json!({
        "parameters": { "people.parameters.transmission": values },
        "replicates": replicates,
        "seeds": { "base": 7 },
    }))
}

async fn begun(test: &TestHost, experiment: Experiment) -> ExperimentHandle {
    let new = NewExperiment::new(epidemic(), experiment);
    test.host.experiments().create(new).await.unwrap()
}

async fn completed(experiment: &ExperimentHandle) -> Vec<(Run, RunResult)> {
    let record = experiment.wait().await;
    assert_eq!(record.status, SimulationStatus::Completed, "{:?}", record.reason);
    let runs = experiment.runs(0, usize::MAX).await.unwrap();
    assert_eq!((runs.len(), record.progress.done), (record.planned, record.planned));
    runs.into_iter().map(|(run, result)| (run, result.expect("it is over"))).collect()
}

/// What each run comes to that is made by itself.
async fn by_themselves(
    test: &TestHost,
    experiment: &Experiment,
) -> Vec<(Vec<Option<f64>>, [u8; 32])> {
    let mut outcomes = Vec::new();
    for run in experiment.runs().unwrap() {
        let spec = experiment.world(&epidemic(), &run).unwrap();
        let mut world = test.host.simulations().make(spec).await.unwrap();
        let last = world.run(u64::MAX).await.unwrap().pop().unwrap();
        let aggregates = last.aggregates.iter().map(|own| own.value).collect();
        outcomes.push((aggregates, world.fingerprint().await.unwrap()));
    }
    outcomes
}

fn assert_same(runs: &[(Run, RunResult)], alone: &[(Vec<Option<f64>>, [u8; 32])]) {
    assert_eq!(runs.len(), alone.len());
    for (number, ((run, result), (aggregates, fingerprint))) in runs.iter().zip(alone).enumerate() {
        assert_eq!((run.number, result.number as usize), (number, number));
        assert_eq!((&result.error, result.ticks), (&None, 12), "run {number}");
        assert_eq!((&result.aggregates, result.fingerprint), (aggregates, Some(*fingerprint)));
    }
}

/// What the host has beside the experiment itself.
async fn nothing_is_left(test: &TestHost) {
    assert_eq!(test.host.simulations().list(None, 9).total, 0, "worlds of runs are left");
}

#[tokio::test]
async fn each_run_comes_to_what_its_world_comes_to_by_itself() {
    let test = TestHost::new().await;
    let design = transmissions(30);
    let experiment = begun(&test, design.clone()).await;
    let runs = completed(&experiment).await;
    assert_same(&runs, &by_themselves(&test, &design).await);
    let record = experiment.record();
    let steps: u64 = runs.iter().map(|(_, result)| result.steps).sum();
    assert_eq!((record.progress.steps, record.progress.failed), (steps, 0));
    assert_eq!(record.parameters, ["people.parameters.transmission"]);
    assert_eq!(record.aggregates, ["ill", "over"]);
    // Over the border of what lies together.
    let some = experiment.runs(60, 10).await.unwrap();
    let same: Vec<_> = some.into_iter().map(|(_, result)| result.unwrap().fingerprint).collect();
    assert_eq!(same, runs[60..70].iter().map(|(_, own)| own.fingerprint).collect::<Vec<_>>());
    assert!(experiment.runs(90, 10).await.unwrap().is_empty());
    nothing_is_left(&test).await;

    let id = experiment.id();
    experiment.delete().await.unwrap();
    let gone = test.host.experiments().get(id);
    assert!(matches!(gone, Err(SimulationError::ExperimentNotFound(_))));
    assert_eq!(test.host.experiments().list(None, 9).total, 0);
}

#[tokio::test]
async fn an_experiment_whose_host_ends_again_and_again_comes_to_the_same() {
    let (root, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let mut test = TestHost::on(root.path(), &clock).await;
    let design = transmissions(30);
    let alone = by_themselves(&test, &design).await;
    let id = begun(&test, design).await.id();
    let (mut random, mut in_the_middle) = (7_u64, 0);
    for round in 0..12 {
        random = random * 48_271 % 2_147_483_647;
        let experiment = test.host.experiments().get(id).unwrap();
        let mut record = experiment.record();
        let until = record.progress.done as u64 + random % 9;
        while record.progress.done as u64 <= until && record.status == SimulationStatus::Running {
            record = experiment.changed(&record).await;
        }
        in_the_middle += u32::from(record.progress.done < record.planned);
        drop(experiment);
        // Every other time nobody says good-bye.
        if round % 2 == 0 {
            test.host.shut_down().await.unwrap();
        }
        drop(test);
        clock.advance(Duration::from_secs(1));
        test = TestHost::built(root.path(), &clock, |builder| builder).await;
    }
    assert!(in_the_middle >= 6, "of 12 ends {in_the_middle} were in the middle");
    let experiment = test.host.experiments().get(id).unwrap();
    assert_same(&completed(&experiment).await, &alone);
    assert_eq!(experiment.record().progress.failed, 0);
    nothing_is_left(&test).await;
    test.host.shut_down().await.unwrap();
}

#[tokio::test]
async fn an_experiment_is_paused_and_goes_on_where_it_was() {
    let (root, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let test = TestHost::on(root.path(), &clock).await;
    let design = transmissions(40);
    let alone = by_themselves(&test, &design).await;
    let experiment = begun(&test, design).await;
    let begun = experiment.record();
    experiment.changed(&begun).await;
    let record = experiment.pause().await.unwrap();
    assert_eq!(record.status, SimulationStatus::Paused(PauseCause::Requested));
    assert!(record.progress.done > 0 && record.progress.done < record.planned);
    // It stays so, also behind a restart.
    let id = experiment.id();
    drop(experiment);
    test.host.shut_down().await.unwrap();
    drop(test);
    let test = TestHost::built(root.path(), &clock, |builder| builder).await;
    let experiment = test.host.experiments().get(id).unwrap();
    assert_eq!(experiment.record(), record);
    let worlds = test.host.simulations().list(None, 99).simulations;
    let of_runs = |own: &dormouse::SimulationRecord| own.run_of.is_some_and(|(of, _)| of == id);
    let rests = |own: &dormouse::SimulationRecord| own.status != SimulationStatus::Running;
    assert!(worlds.iter().all(|own| of_runs(own) && rests(own)), "{worlds:?}");
    experiment.resume(None).await.unwrap();
    assert_same(&completed(&experiment).await, &alone);
    // There is nothing to do any more.
    experiment.resume(None).await.unwrap();
    assert_eq!(experiment.record().status, SimulationStatus::Completed);
    nothing_is_left(&test).await;
    test.host.shut_down().await.unwrap();
}

#[tokio::test]
async fn what_all_runs_may_use_together_pauses_them_and_more_of_it_changes_nothing() {
    let test = TestHost::new().await;
    let design = transmissions(10);
    let alone = by_themselves(&test, &design).await;
    let whole = begun(&test, design.clone()).await;
    completed(&whole).await;
    let fuel = whole.record().progress.fuel;

    let budget = |parts: u64| Budget { fuel: Some(fuel * parts / 10), ..Budget::default() };
    let new = NewExperiment { budget: budget(3), ..NewExperiment::new(epidemic(), design) };
    let experiment = test.host.experiments().create(new).await.unwrap();
    let record = experiment.wait().await;
    assert_eq!(record.status, SimulationStatus::Paused(PauseCause::Fuel), "{:?}", record.reason);
    assert!(record.reason.as_deref().unwrap().contains("give it more"), "{:?}", record.reason);
    let done = record.progress.done;
    assert!((3..=18).contains(&done), "{done} of 30 are over with three tenths of what all use");
    // Nothing is left of it, so that it pauses at once.
    experiment.resume(None).await.unwrap();
    let again = experiment.wait().await;
    assert_eq!((again.status, again.progress.done), (record.status, done));
    experiment.resume(Some(budget(11))).await.unwrap();
    assert_same(&completed(&experiment).await, &alone);
}

#[tokio::test]
async fn a_run_that_fails_is_told_and_the_others_go_on() {
    let test = TestHost::new().await;
    // Each value makes sense with the first of the other, but the last two do not go together; and what `much` is, the population
    // alone knows.
    let infected = json!([{ "exactly": 1 }, { "exactly": 5 }]);
    let design = experiment(json!({ "parameters": {
        "people.attributes.infected": infected,
        "people.count": [300, 3],
        "people.parameters.transmission": [0.2, "much"],
    } }));
    let experiment = begun(&test, design).await;
    let record = experiment.wait().await;
    assert_eq!(record.status, SimulationStatus::Completed, "{:?}", record.reason);
    let runs = experiment.runs(0, 9).await.unwrap();
    let mut failed = 0;
    for (run, result) in &runs {
        let error = result.as_ref().unwrap().error.as_deref();
        let makes_no_sense = run.values[0]["exactly"] == 5 && run.values[1] == 3;
        if makes_no_sense {
            assert!(error.unwrap().contains("5 of 3 members"), "{error:?}");
        } else if run.values[2] == "much" {
            assert!(error.unwrap().contains("transmission"), "{error:?}");
        } else {
            assert_eq!(error, None);
        }
        failed += usize::from(error.is_some());
    }
    assert_eq!((runs.len(), record.progress.done), (8, 8));
    assert_eq!((failed, record.progress.failed), (5, 5));
    // Where combinations are listed, each of them is tried.
    let listed = json!({ "parameters": { "people.attributes.infected": infected, "people.count": [300, 3] }, "design": "list" });
    let new = NewExperiment::new(epidemic(), self::experiment(listed));
    let refused = test.host.experiments().create(new).await.unwrap_err().to_string();
    assert!(refused.contains("5 of 3 members"), "{refused}");
    experiment.delete().await.unwrap();
    nothing_is_left(&test).await;
}

#[tokio::test]
async fn agents_are_varied_and_are_what_they_were_when_the_experiment_began() {
    let test = TestHost::new().await;
    let spec = WorldSpec::from_toml(
        r#"
        ticks = 5
        members = [{ role = "people", agent = "wealth", count = 100 }]
        "#,
    )
    .unwrap();
    let design = experiment(json!({ "parameters": { "people.agent": ["wealth", "schelling"] } }));
    let created = test.host.experiments().create(NewExperiment::new(spec.clone(), design)).await;
    let experiment = created.unwrap();
    let record = experiment.wait().await;
    assert_eq!(record.status, SimulationStatus::Completed, "{:?}", record.reason);
    let runs = experiment.runs(0, 2).await.unwrap();
    let print = |number: usize| runs[number].1.as_ref().unwrap().fingerprint;
    assert_ne!(print(0), print(1));
    let nobody =
        self::experiment(json!({ "parameters": { "people.agent": ["wealth", "nobody"] } }));
    let refused = test.host.experiments().create(NewExperiment::new(spec, nobody)).await;
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("nobody"), "{refused}");
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_before_anything_is_kept() {
    let test = TestHost::new().await;
    let cases = [
        (json!({ "parameters": { "people.parameters": [] } }), "parameters.people.parameters"),
        (json!({ "parameters": { "tiks": [1] } }), "tiks"),
        (json!({ "parameters": { "ticks": [3, 0] } }), "ticks"),
        (json!({ "replicates": 0 }), "replicates"),
        (json!({ "replicates": 100_001 }), "100000 at most"),
        (json!({ "parameters": { "people.count": [300, 2_000_000_000] } }), "count"),
    ];
    for (document, says) in cases {
        let new = NewExperiment::new(epidemic(), experiment(document.clone()));
        let refused = test.host.experiments().create(new).await;
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains(says), "{document}: {refused}");
    }
    let budget = Budget { usd: Some(-1.0), ..Budget::default() };
    let new = NewExperiment { budget, ..NewExperiment::new(epidemic(), transmissions(1)) };
    let refused = test.host.experiments().create(new).await.unwrap_err().to_string();
    assert!(refused.contains("budget.usd"), "{refused}");
    let new =
        NewExperiment { name: "x".repeat(201), ..NewExperiment::new(epidemic(), transmissions(1)) };
    let refused = test.host.experiments().create(new).await.unwrap_err().to_string();
    assert!(refused.contains("name: it has 200 characters"), "{refused}");
    let large = json!({ "parameters": { "people.parameters.x": ["x".repeat(70_000)] } });
    let new = NewExperiment::new(epidemic(), experiment(large));
    let refused = test.host.experiments().create(new).await.unwrap_err().to_string();
    assert!(refused.contains("65536 bytes at most"), "{refused}");
    assert_eq!(test.host.experiments().list(None, 9).total, 0);
}

#[tokio::test]
async fn nobody_changes_what_a_run_comes_to_and_its_experiment_pauses_with_it() {
    let test = TestHost::new().await;
    let experiment = begun(&test, transmissions(1_000)).await;
    experiment.changed(&experiment.record()).await;
    experiment.pause().await.unwrap();
    let done = experiment.record().progress.done;
    let worlds = test.host.simulations().list(None, 9).simulations;
    let world = test.host.simulations().get(worlds[0].id).unwrap();
    let set = dormouse::world_spec::Change { role: "people".to_owned(), ..Default::default() };
    for refused in [world.set(set).await.map(drop), world.delete().await, world.step(1).await] {
        let refused = refused.unwrap_err();
        assert!(
            matches!(refused, SimulationError::RunOf(of) if of == experiment.id()),
            "{refused}"
        );
    }
    // A run that somebody ends is over.
    if world.record().status.can_go_on() {
        world.stop().await.unwrap();
    }
    experiment.resume(None).await.unwrap();
    let mut record = experiment.record();
    while record.progress.done < done + 5 && record.status == SimulationStatus::Running {
        record = experiment.changed(&record).await;
    }
    assert!(record.progress.failed <= 1, "{record:?}");
    experiment.delete().await.unwrap();
    nothing_is_left(&test).await;
}

#[tokio::test]
async fn an_experiment_all_of_whose_runs_fail_is_paused_and_deleted_at_once() {
    let test = TestHost::new().await;
    // Each value makes sense with the first of the other.
    let counts: Vec<u32> =
        std::iter::once(300).chain((1..300).map(|count| count % 4 + 1)).collect();
    let infected: Vec<Value> =
        (0..300).map(|some| json!({ "exactly": if some == 0 { 1 } else { 5 } })).collect();
    let design =
        json!({ "parameters": { "people.count": counts, "people.attributes.infected": infected } });
    let new = NewExperiment::new(epidemic(), self::experiment(design));
    let experiment = test.host.experiments().create(new).await.unwrap();
    let mut record = experiment.record();
    while record.progress.failed < 20 {
        record = experiment.changed(&record).await;
    }
    let paused = experiment.pause().await.unwrap();
    assert_eq!(paused.status, SimulationStatus::Paused(PauseCause::Requested));
    assert!(paused.progress.done < paused.planned, "{:?}", paused.progress);
    experiment.delete().await.unwrap();
    nothing_is_left(&test).await;
}

#[tokio::test]
async fn an_experiment_is_deleted_in_the_middle_with_the_worlds_of_its_runs() {
    let (root, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let test = TestHost::on(root.path(), &clock).await;
    let experiment = begun(&test, transmissions(1_000)).await;
    let mut record: std::sync::Arc<ExperimentRecord> = experiment.record();
    while record.progress.done < 70 {
        record = experiment.changed(&record).await;
    }
    experiment.delete().await.unwrap();
    nothing_is_left(&test).await;
    test.host.shut_down().await.unwrap();
    drop(test);
    let test = TestHost::built(root.path(), &clock, |builder| builder).await;
    assert_eq!(test.host.experiments().list(None, 9).total, 0);
    nothing_is_left(&test).await;
    test.host.shut_down().await.unwrap();
}
