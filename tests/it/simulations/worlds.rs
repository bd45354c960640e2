//! Random small worlds: each comes to one fingerprint, however its rows are split and on however many threads.

use std::time::Duration;

use dormouse::world_spec::{
    AggregateSpec, AttributeSpec, Budget, Change, ClockSpec, Deed, Distribution, MembersSpec,
    ParameterSpec, ProgramStep, RowsSpec, ScheduleSpec, SpaceSpec, Statistic, TopologySpec,
};
use dormouse::{Fingerprint, HostBuilder, ManualClock, NewBranch, SimulationStatus, WorldSpec};
use dormouse_test_guests as guests;
use dormouse_tests::TestHost;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::sameness::fingerprint;

/// Members of a role of this number, whatever other roles there are.
fn members(number: usize) -> impl Strategy<Value = MembersSpec> {
    let topology = prop_oneof![
        Just(TopologySpec::Ring),
        Just(TopologySpec::Star),
        (0.0..0.3).prop_map(|p| TopologySpec::Random { p }),
        (0.0..1.0).prop_map(|p| TopologySpec::SmallWorld { k: 2, p }),
        Just(TopologySpec::ScaleFree { m: 2 }),
    ];
    let kinds = ["wealth", "epidemic", "exclusion", "flock", "acts_in_worlds"];
    let kind = proptest::sample::select(kinds.to_vec());
    let shape = (4..60_u32, 1..70_u32, 0.0..1.0);
    (kind, shape, topology).prop_map(move |(kind, (count, rows, p), topology)| {
        let mut members = MembersSpec {
            role: format!("role-{number}"),
            agent: kind.to_owned(),
            count,
            rows: RowsSpec::AtMost(rows),
            ..MembersSpec::default()
        };
        let number = |name: &str| (name.to_owned(), ParameterSpec::Number(p));
        let some = || AttributeSpec::Drawn(Distribution::Exactly(count / 3));
        match kind {
            "epidemic" => {
                members.topology = topology;
                members.parameters.extend([number("transmission")]);
                members.attributes.insert("infected".to_owned(), some());
            }
            "exclusion" => {
                members.parameters.extend([number("p")]);
                members.attributes.insert("occupied".to_owned(), some());
            }
            "wealth" => {
                let drawn = AttributeSpec::Drawn(Distribution::Integers(0, 5));
                members.attributes.insert("wealth".to_owned(), drawn);
            }
            "flock" => {
                members.parameters.extend([number("noise")]);
                for name in ["x", "y", "heading"] {
                    let drawn = AttributeSpec::Drawn(Distribution::Uniform(0.0, 10.0));
                    members.attributes.insert(name.to_owned(), drawn);
                }
            }
            // Its children are of the role 0, and need the energy that they are born with there.
            _ => members.role = "role-0".to_owned(),
        }
        members
    })
}

fn worlds() -> impl Strategy<Value = WorldSpec> {
    let schedule = prop_oneof![
        3 => Just(ScheduleSpec::Simultaneous),
        2 => Just(ScheduleSpec::ByEvent),
        1 => Just(ScheduleSpec::Random),
        1 => Just(ScheduleSpec::RandomReplace),
        1 => Just(ScheduleSpec::Sequential),
    ];
    (members(0), members(1), any::<u64>(), 1..15_u64, schedule).prop_map(
        |(first, second, seed, ticks, schedule)| {
            let mut members = vec![first];
            // Both may be what bears members of the first role.
            if second.role != "role-0" {
                members.push(second);
            }
            let is_in_space = members.iter().any(|members| members.agent == "flock");
            let space = is_in_space.then(|| SpaceSpec {
                size: [10.0; 2],
                torus: seed % 2 == 0,
                columns: ["x".to_owned(), "y".to_owned()],
            });
            WorldSpec {
                name: String::new(),
                seed,
                ticks,
                clock: ClockSpec::default(),
                schedule,
                members,
                space,
                aggregates: Vec::new(),
                program: Vec::new(),
                budget: Budget::default(),
            }
        },
    )
}

/// What is done to a world from outside: other values of the one parameter that its first role has, if it has one.
fn with_program(mut spec: WorldSpec, steps: &[(u64, f64)]) -> WorldSpec {
    let MembersSpec { role, agent, .. } = &spec.members[0];
    let name = match agent.as_str() {
        "epidemic" => "transmission",
        "exclusion" => "p",
        "flock" => "noise",
        _ => return spec,
    };
    let step = |(at, value): &(u64, f64)| {
        let parameters = [(name.to_owned(), ParameterSpec::Number(*value))].into();
        let change = Change { role: role.clone(), parameters, ..Change::default() };
        ProgramStep { at: at % spec.ticks, deed: Deed::Set(change) }
    };
    spec.program = steps.iter().map(step).collect();
    spec
}

/// What comes of a world that a host keeps, by steps of so many ticks. Behind some of them the host ends in the middle of
/// what it does, and another goes on.
async fn interrupted(spec: &WorldSpec, steps: &[(u64, bool)]) -> Fingerprint {
    let (root, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let start = async || {
        let change =
            |builder: HostBuilder| builder.configure(|options| options.max_world_instances = 400);
        TestHost::built(root.path(), &clock, change).await
    };
    let mut test = start().await;
    test.upload(&guests::ACTS_IN_WORLDS).await;
    let id = test.host.simulations().create(spec.clone()).await.unwrap().id();
    for (ticks, kill) in steps {
        let world = test.host.simulations().get(id).unwrap();
        // It may be over, or go on by itself since its host was started.
        let _ = world.step(*ticks).await;
        clock.advance(Duration::from_secs(2));
        if *kill {
            drop((world, test));
            test = start().await;
        } else {
            world.wait().await;
        }
    }
    let world = test.host.simulations().get(id).unwrap();
    world.wait().await;
    let _ = world.start(None).await;
    let record = world.wait().await;
    assert_eq!(record.status, SimulationStatus::Completed, "{:?}", record.reason);
    let (ticks, of_log) = (record.progress.ticks, record.fingerprint.unwrap());
    // What is made again of the log and its keyframes is the same world.
    let fork = world.fork(Some(ticks / 2), vec![NewBranch::default()]).await.unwrap().remove(0);
    fork.start(None).await.unwrap();
    assert_eq!(fork.wait().await.fingerprint, Some(of_log));
    let difference = world.difference(&fork).await.unwrap();
    assert_eq!((difference.compared, difference.first), (ticks, None));
    test.host.shut_down().await.unwrap();
    of_log
}

#[test]
fn random_worlds_come_to_one_fingerprint_however_they_are_run() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let host = |threads| {
        runtime.block_on(async move {
            let test = TestHost::with(|options| {
                options.guest_threads = threads;
                options.max_world_instances = 400;
            })
            .await;
            test.upload(&guests::ACTS_IN_WORLDS).await;
            test
        })
    };
    let (one, two) = (host(1), host(2));
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    let config = ProptestConfig {
        cases: cases.unwrap_or(40),
        failure_persistence: None,
        ..Default::default()
    };
    let program = proptest::collection::vec((0..99_u64, 0.0..1.0), 0..3);
    let steps = proptest::collection::vec((1..6_u64, any::<bool>()), 0..4);
    let cases = (worlds(), program, steps);
    let done = TestRunner::new(config).run(&cases, |(spec, program, steps)| {
        let spec = with_program(spec, &program);
        let with = |test: &TestHost, change: &dyn Fn(&mut WorldSpec)| {
            let mut spec = spec.clone();
            change(&mut spec);
            runtime.block_on(fingerprint(test, &spec))
        };
        let rows = |rows| {
            move |spec: &mut WorldSpec| spec.members.iter_mut().for_each(|own| own.rows = rows)
        };
        let whole = with(&one, &rows(RowsSpec::Auto));
        prop_assert_eq!(with(&two, &|_| ()), whole);
        prop_assert_eq!(with(&two, &rows(RowsSpec::AtMost(1))), whole);
        prop_assert_eq!(with(&one, &rows(RowsSpec::AtMost(7))), whole);
        let aggregate = |spec: &mut WorldSpec| {
            let column = match spec.members[0].agent.as_str() {
                "wealth" => "wealth",
                "epidemic" => "state",
                "exclusion" => "hops",
                "flock" => "vx",
                _ => "energy",
            };
            let of = format!("{}.{column}", spec.members[0].role);
            spec.aggregates =
                vec![AggregateSpec { name: "mean".to_owned(), of, is: Statistic::Mean, every: 2 }];
        };
        prop_assert_eq!(with(&two, &aggregate), whole, "what is recorded means nothing");
        prop_assert_ne!(with(&one, &|spec| spec.seed ^= 1), whole);
        prop_assert_eq!(runtime.block_on(interrupted(&spec, &steps)), whole, "interrupted");
        Ok(())
    });
    if let Err(error) = done {
        panic!("{error}");
    }
}
