//! A population in JavaScript comes to what the same one in Rust comes to: both draw the same numbers.

use dormouse::world_spec::{RowsSpec, ScheduleSpec};
use dormouse::{AggregateValue, Bundle, Column, Record, WorldSpec};
use dormouse_tests::TestHost;
use dormouse_tests::scripted::EPIDEMIC_STARLINGMONKEY;

use super::upload;

const TICKS: u64 = 12;

/// Thirty people, two of whom are ill. What they have passes on more easily from the tick 3 on.
fn spec(agent: &str, schedule: ScheduleSpec) -> WorldSpec {
    let text = r#"
        seed = 5
        ticks = 12
        aggregates = [
            { name = "ill", of = "people.state", is = { share = 1 }, every = 1 },
            { name = "immune", of = "people.state", is = { share = 2 }, every = 1 },
        ]
        program = [{ at = 3, do = { set = { role = "people", parameters = { transmission = 0.9 } } } }]

        [[members]]
        role = "people"
        agent = "epidemic"
        count = 30
        parameters = { transmission = 0.4 }
        attributes = { infected = { exactly = 2 } }
        topology = { kind = "small-world", k = 4, p = 0.2 }
        "#;
    let mut spec = WorldSpec::from_toml(text).unwrap();
    agent.clone_into(&mut spec.members[0].agent);
    spec.schedule = schedule;
    spec
}

/// What each tick comes to: the aggregates, and the state of each person.
async fn course(test: &TestHost, spec: WorldSpec) -> Vec<(Vec<AggregateValue>, Column)> {
    let mut world = test.host.simulations().make(spec).await.unwrap();
    let mut course = Vec::new();
    for _ in 0..TICKS {
        let tick = world.run(1).await.unwrap().pop().unwrap();
        course.push((tick.aggregates, world.column("people", "state").await.unwrap()));
    }
    course
}

#[tokio::test]
#[ignore = "needs `agents/build`"]
async fn a_population_in_javascript_comes_to_what_the_one_in_rust_comes_to_tick_by_tick() {
    let test = TestHost::new().await;
    upload(&test, EPIDEMIC_STARLINGMONKEY).await;
    let mut courses = Vec::new();
    for schedule in [
        ScheduleSpec::Simultaneous,
        ScheduleSpec::ByEvent,
        ScheduleSpec::Random,
        ScheduleSpec::RandomReplace,
        ScheduleSpec::Sequential,
    ] {
        let rust = course(&test, spec("epidemic", schedule)).await;
        let javascript = course(&test, spec(EPIDEMIC_STARLINGMONKEY, schedule)).await;
        assert_eq!(javascript, rust, "{schedule:?}");
        let (aggregates, _) = rust.last().unwrap();
        assert!(aggregates[1].value.unwrap() > 0.2, "{schedule:?}: few infect others");
        courses.push(rust);
    }
    // The schedule decides: so each of them was followed.
    assert_ne!(courses[1], courses[2]);
    assert_ne!(courses[2], courses[3]);
    assert_ne!(courses[3], courses[4]);
    test.shut_down().await;
}

#[tokio::test]
#[ignore = "needs `agents/build`"]
async fn rows_in_javascript_come_to_one_fingerprint_however_they_are_split() {
    let test = TestHost::new().await;
    upload(&test, EPIDEMIC_STARLINGMONKEY).await;
    let mut spec = spec(EPIDEMIC_STARLINGMONKEY, ScheduleSpec::ByEvent);
    let mut fingerprints = Vec::new();
    for rows in [1, 7, 30] {
        spec.members[0].rows = RowsSpec::AtMost(rows);
        let mut world = test.host.simulations().make(spec.clone()).await.unwrap();
        world.run(TICKS).await.unwrap();
        fingerprints.push(world.fingerprint().await.unwrap());
    }
    assert_eq!(fingerprints, [fingerprints[0]; 3]);
    test.shut_down().await;
}

#[tokio::test]
#[ignore = "needs `agents/build`"]
async fn a_bundle_of_rows_in_javascript_is_verified_elsewhere() {
    let test = TestHost::new().await;
    upload(&test, EPIDEMIC_STARLINGMONKEY).await;
    let spec = spec(EPIDEMIC_STARLINGMONKEY, ScheduleSpec::Simultaneous);
    let mut world = test.host.simulations().make(spec).await.unwrap();
    let mut record = Record::default();
    world.run(TICKS).await.unwrap().iter().for_each(|summary| record.note(summary));
    record.fingerprint = world.fingerprint().await.unwrap();
    let mut bytes = Vec::new();
    world.bundle(record).await.unwrap().write(&mut bytes).unwrap();
    drop(world);
    test.shut_down().await;

    let elsewhere = TestHost::new().await;
    let bundle = Bundle::read(bytes.as_slice()).unwrap();
    assert_eq!(elsewhere.host.simulations().verify(&bundle).await.unwrap(), None);
    elsewhere.shut_down().await;
}
