//! What comes of a world depends on its specification and its seed, and on nothing else.

use dormouse::{Fingerprint, WorldSpec, world_spec::RowsSpec};
use dormouse_test_guests as guests;
use dormouse_tests::TestHost;

pub(super) async fn fingerprint(test: &TestHost, spec: &WorldSpec) -> Fingerprint {
    let mut world = test.host.simulations().make(spec.clone()).await.unwrap();
    world.run(u64::MAX).await.unwrap();
    world.fingerprint().await.unwrap()
}

fn spec(text: &str) -> WorldSpec {
    WorldSpec::from_toml(text).unwrap()
}

const WORLDS: [&str; 7] = [
    // Members are born and end.
    r#"
    ticks = 12
    members = [{ role = "beings", agent = "acts_in_worlds", count = 40 }]
    "#,
    r#"
    ticks = 12
    schedule = "by-event"
    members = [{ role = "beings", agent = "acts_in_worlds", count = 40 }]
    "#,
    r#"
    ticks = 30
    members = [{ role = "traders", agent = "wealth", count = 100 }]
    "#,
    r#"
    ticks = 30
    schedule = "by-event"
    [[members]]
    role = "people"
    agent = "epidemic"
    count = 200
    attributes = { infected = { exactly = 3 } }
    topology = { kind = "small-world", k = 4, p = 0.2 }
    "#,
    r#"
    ticks = 30
    [[members]]
    role = "spins"
    agent = "ising"
    count = 64
    parameters = { width = 8, temperature = 3.0 }
    topology = { kind = "grid", width = 8 }
    "#,
    r#"
    ticks = 30
    aggregates = [
        { name = "mean-cos", of = "oscillators.cos", is = "mean" },
        { name = "mean-sin", of = "oscillators.sin", is = "mean" },
    ]
    [[members]]
    role = "oscillators"
    agent = "oscillators"
    count = 50
    attributes = { frequency = { normal = [0.0, 1.0] }, phase = { uniform = [0.0, 6.28] } }
    "#,
    r#"
    ticks = 30
    space = { size = [5, 7], torus = true }
    [[members]]
    role = "birds"
    agent = "flock"
    count = 60
    parameters = { width = 5, height = 7, noise = 1.0 }
    attributes = { x = { uniform = [0, 5] }, y = { uniform = [0, 7] }, heading = { uniform = [0, 6.28] } }
    "#,
];

#[tokio::test]
async fn neither_rows_nor_threads_change_a_fingerprint_and_a_seed_does() {
    let one = TestHost::with(|options| options.guest_threads = 1).await;
    let two = TestHost::with(|options| {
        options.guest_threads = 2;
        options.max_world_instances = 250;
    })
    .await;
    for test in [&one, &two] {
        test.upload(&guests::ACTS_IN_WORLDS).await;
    }
    for text in WORLDS {
        let mut world = spec(text);
        let first = fingerprint(&one, &world).await;
        for rows in [1, 7, 64] {
            world.members[0].rows = RowsSpec::AtMost(rows);
            assert_eq!(fingerprint(&two, &world).await, first, "{rows} rows: {text}");
        }
        world.seed = 1;
        assert_ne!(fingerprint(&one, &world).await, first, "{text}");
    }
}
