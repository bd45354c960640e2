//! Worlds that are asked for what cannot be, and populations that do what cannot be done.

use std::time::Duration;

use dormouse::{
    AgentError, CreateError, NewSession, SimulationError, TickSummary, WorldError, WorldSpec,
};
use dormouse_test_guests as guests;
use dormouse_tests::TestHost;

use super::{integers, world};

fn refused(spec: &str) -> String {
    WorldSpec::from_toml(spec).unwrap_err().to_string()
}

#[test]
fn a_specification_without_meaning_names_what_is_to_be_changed() {
    let members =
        |rest: &str| format!("ticks = 1\n[[members]]\nrole = \"a\"\nagent = \"wealth\"\n{rest}");
    for (spec, part) in [
        ("ticks = 0\nmembers = []".to_owned(), "ticks: a world has at least one tick"),
        ("ticks = 1\nmembers = []".to_owned(), "members: a world has 1 to 64 roles"),
        ("ticks = 1\nmembres = []".to_owned(), "line 2"),
        (members("count = 1\nrows = 0"), "rows are `auto`, or how many"),
        (
            members("count = 1000000000"),
            "members[0].count: a role begins with 1 to 16777216 members",
        ),
        (members("count = 2\nattributes = { wealth = [1] }"), "there are 1 values for 2 members"),
        (members("count = 2\nattributes = { wealth = nan }"), "numbers are finite"),
        (
            members("count = 2\nattributes = { wealth = { uniform = [2.0, 1.0] } }"),
            "below the second",
        ),
        (
            members("count = 2\ntopology = { kind = \"edges\", edges = [[0, 2]] }"),
            "there is no member 2",
        ),
        (
            members("count = 3\ntopology = { kind = \"grid\", width = 2 }"),
            "3 members do not make lines of 2",
        ),
        (
            members("count = 9\ntopology = { kind = \"small-world\", k = 3, p = 0.1 }"),
            "an even number",
        ),
        (
            members("count = 9\ntopology = { kind = \"random\", p = 1.5 }"),
            "a probability is from 0 to 1",
        ),
        (members("count = 2\nparameters = { x = inf }"), "numbers are finite"),
        (
            members("count = 10000000\ntopology = { kind = \"random\", p = 0.5 }"),
            "more than 16777216 ties",
        ),
        ("ticks = 1\nspace = { size = [0, 1] }\nmembers = [{ role = \"a\", agent = \"b\", count = 1 }]".to_owned(), "space.size: a side is"),
        ("ticks = 1\nspace = { size = [nan, 1] }\nmembers = [{ role = \"a\", agent = \"b\", count = 1 }]".to_owned(), "space.size: a side is"),
        ("ticks = 1\nspace = { size = [1, 1], columns = [\"x\", \"x\"] }\nmembers = [{ role = \"a\", agent = \"b\", count = 1 }]".to_owned(), "a column each"),
        ("ticks = 1\nspace = { size = [1, 1, 1] }\nmembers = [{ role = \"a\", agent = \"b\", count = 1 }]".to_owned(), "line 2"),
        (
            members("count = 1\n[[aggregates]]\nname = \"x\"\nof = \"b.wealth\"\nis = \"mean\""),
            "the roles are a",
        ),
        (
            members("count = 1\n[[aggregates]]\nname = \"x\"\nof = \"a.wealth\"\nis = \"mode\""),
            "unknown variant `mode`",
        ),
    ] {
        let told = refused(&spec);
        assert!(told.contains(part), "{spec}\n{told}");
    }
}

async fn unmade(test: &TestHost, spec: &str) -> SimulationError {
    let spec = WorldSpec::from_toml(spec).unwrap();
    test.host.simulations().make(spec).await.unwrap_err()
}

#[tokio::test]
async fn a_world_is_made_of_populations_that_are_there_and_that_do_what_it_asks_for() {
    let test = TestHost::new().await;
    test.upload(&guests::ACTS_IN_WORLDS).await;
    let of = |agent: &str, rest: &str| {
        format!("ticks = 1\nmembers = [{{ role = \"a\", agent = \"{agent}\", count = 9{rest} }}]")
    };
    let told = unmade(&test, &of("nobody", "")).await;
    let SimulationError::Agent { place: 0, error: AgentError::NotFound(_) } = told else {
        panic!("{told}")
    };
    let told = unmade(&test, &of("counter", ", parameters = { act = 1 }")).await;
    assert!(told.to_string().contains("members are sessions, and have a `config`"), "{told}");
    let told = unmade(&test, &of("acts_in_worlds", ", columns = [\"a\"]")).await;
    assert!(told.to_string().contains("members[0].columns: its agent is a population"), "{told}");
    let told = unmade(&test, &of("acts_in_worlds", ", parameters = { act = \"refuse\" }")).await;
    assert!(told.to_string().contains("`act` is something else"), "{told}");
    let told = unmade(&test, &of("acts_in_worlds", ", parameters = { act = 1 }")).await;
    assert!(told.to_string().contains("`act` has to be a text"), "{told}");
    let aggregate = "\naggregates = [{ name = \"x\", of = \"a.height\", is = \"mean\" }]";
    let told = unmade(&test, &(of("acts_in_worlds", "") + aggregate)).await;
    assert!(
        told.to_string().contains("aggregates[0].of: members of the role `a` publish energy"),
        "{told}"
    );
    let space = "\nspace = { size = [1, 1], columns = [\"energy\", \"height\"] }";
    let told = unmade(&test, &(of("acts_in_worlds", "") + space)).await;
    assert!(told.to_string().contains("no role publish both `energy` and `height`"), "{told}");
    let many =
        "ticks = 1\nmembers = [{ role = \"a\", agent = \"wealth\", count = 1000, rows = 1 }]";
    let told = unmade(&test, many).await;
    let SimulationError::World(WorldError::TooLarge { instances: 1_000, places: 32, rows: 33 }) =
        told
    else {
        panic!("{told}");
    };
    let made = world(&test, &of("wealth", ", rows = 1")).await;
    // Places are given back with the world.
    drop(made);
    world(&test, &many.replace("rows = 1", "rows = 33")).await;
}

#[tokio::test]
async fn a_population_serves_no_session() {
    let test = TestHost::new().await;
    let Err(refused) = test.host.sessions().create(NewSession::agent("wealth")).await else {
        panic!("it is created");
    };
    assert!(matches!(refused, CreateError::Population(_)), "{refused}");
    assert_eq!(refused.code(), "not_an_agent");
}

async fn acts(act: &str) -> Result<Vec<TickSummary>, SimulationError> {
    let test = TestHost::new().await;
    test.upload(&guests::ACTS_IN_WORLDS).await;
    let spec = format!(
        r#"
        ticks = 3
        members = [{{ role = "beings", agent = "acts_in_worlds", count = 9, parameters = {{ act = "{act}" }} }}]
        aggregates = [{{ name = "pushes", of = "beings.pushes", is = "mean" }}]
        "#
    );
    world(&test, &spec).await.run(3).await
}

#[tokio::test]
async fn what_rows_cannot_do_ends_the_world_and_is_told() {
    // Whoever ends twice has ended.
    let ticks = acts("end twice").await.unwrap();
    assert_eq!(ticks.iter().map(|summary| summary.steps).collect::<Vec<_>>(), [9, 0, 0]);
    for (act, part) in [
        (
            "send no number",
            "tick 0: members of the role `beings` did what cannot be done: an effect `push` has a value that is no number",
        ),
        ("publish no number", "a value of `pushes` is no number (NaN)"),
        ("send infinities", "an effect `add` has a value that is no number"),
        ("allocate", "more memory than its maxMemoryBytes"),
        ("publish too much", "more than 32 MiB in one call: let an instance have fewer rows"),
        ("publish too few", "9 rows publish 1 values of `pushes`"),
        ("send to nobody", "it did `count` to member 9, and the role has members 0 to 8"),
        ("trap", "told to trap"),
        ("read what is not there", "shows no column `nothing`"),
        ("ask who is near", "the specification of the world has to say `space`"),
        ("ask who is near within no number", "a radius is a number that is 0 or more"),
    ] {
        let told = acts(act).await.unwrap_err().to_string();
        assert!(told.contains(part), "{act}: {told}");
    }
}

#[tokio::test]
async fn a_row_that_loops_holds_up_its_world_alone() {
    let test = TestHost::with(|options| options.guest_threads = 1).await;
    test.upload(&guests::ACTS_IN_WORLDS).await;
    let spec = r#"
        ticks = 3
        members = [{ role = "beings", agent = "acts_in_worlds", count = 9, parameters = { act = "loop" } }]
        "#;
    let mut looping = world(&test, spec).await;
    let stepping = tokio::spawn(async move { looping.run(1).await });
    let session = test.host.sessions().create(NewSession::agent("counter")).await.unwrap();
    assert_eq!(session.send("hello").await.unwrap().text(), "turn 1: hello");
    assert!(!stepping.is_finished());
    stepping.abort();
    assert!(stepping.await.unwrap_err().is_cancelled());
    // Its places are free again.
    let other = r#"
        ticks = 1
        members = [{ role = "traders", agent = "wealth", count = 32, rows = 1 }]
        "#;
    let spec = WorldSpec::from_toml(other).unwrap();
    let made = tokio::time::timeout(Duration::from_secs(60), async {
        while test.host.simulations().make(spec.clone()).await.is_err() {
            tokio::task::yield_now().await;
        }
    });
    made.await.unwrap();
}

#[tokio::test]
async fn numbers_are_those_of_philox_also_where_they_are_computed_by_the_dozen() {
    let test = TestHost::new().await;
    test.upload(&guests::ACTS_IN_WORLDS).await;
    let spec = r#"
        seed = 11
        ticks = 3
        members = [{ role = "beings", agent = "acts_in_worlds", count = 100, parameters = { act = "draw by hand" } }]
        "#;
    let mut world = world(&test, spec).await;
    world.run(3).await.unwrap();
    assert_eq!(integers(world.column("beings", "energy").await.unwrap()), [10 + 3 * 6; 100]);
}

#[tokio::test]
async fn the_clock_of_a_member_is_the_one_of_its_world() {
    let test = TestHost::new().await;
    test.upload(&guests::ACTS_IN_WORLDS).await;
    let spec = r#"
        ticks = 3
        clock = { startMs = 5000, tickMs = 250 }
        [[members]]
        role = "beings"
        agent = "acts_in_worlds"
        count = 2
        parameters = { act = "look at the clock" }
        "#;
    let mut world = world(&test, spec).await;
    world.run(3).await.unwrap();
    assert_eq!(integers(world.column("beings", "energy").await.unwrap()), [5_500, 5_500]);
}
