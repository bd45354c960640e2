//! Worlds of which it is known what comes of them. Each tolerance is such that a right build fails less than once in ten
//! thousand times.

use dormouse_tests::TestHost;

use super::{integers, mean_from, world};

/// `is` is to be within `tolerance` of `expected`.
fn assert_near(what: &str, is: f64, expected: f64, tolerance: f64) {
    assert!(
        (is - expected).abs() <= tolerance,
        "{what}: {is}, and {expected} ± {tolerance} is expected"
    );
}

async fn unit_exchange(schedule: &str, seed: u64, expected: (f64, f64)) {
    let test = TestHost::new().await;
    let mut world = world(
        &test,
        &format!(
            r#"
            seed = {seed}
            ticks = 1001
            schedule = "{schedule}"
            members = [{{ role = "traders", agent = "wealth", count = 100000 }}]
            aggregates = [
                {{ name = "gini", of = "traders.wealth", is = "gini", every = 20 }},
                {{ name = "poor", of = "traders.wealth", is = {{ share = 0 }}, every = 20 }},
                {{ name = "all", of = "traders.wealth", is = "sum", every = 1000000 }},
            ]
            "#
        ),
    )
    .await;
    let ticks = world.run(1_001).await.unwrap();
    let (gini, poor) = expected;
    // At one moment the coefficient is off by 0.001, one time in three.
    assert_near("Gini", mean_from(300, 0, &ticks), gini, 0.002);
    assert_near("P(0)", mean_from(300, 1, &ticks), poor, 0.002);
    assert_eq!(ticks[1_000].aggregates[2].value, Some(100_000.0));
}

#[tokio::test]
async fn unit_exchange_follows_the_law_of_its_schedule() {
    unit_exchange("random-replace", 1, (2.0 / 3.0, 0.5)).await;
    unit_exchange("random", 2, (0.6306, 0.463)).await;
    unit_exchange("simultaneous", 3, (0.5799, 2.0_f64.sqrt() - 1.0)).await;
}

#[tokio::test]
async fn pairs_that_split_what_they_have_come_to_an_exponential_law() {
    let test = TestHost::new().await;
    let mut world = world(
        &test,
        r#"
        seed = 4
        ticks = 60
        schedule = "random-replace"
        aggregates = [{ name = "gini", of = "traders.wealth", is = "gini", every = 1000000 }]
        [[members]]
        role = "traders"
        agent = "wealth"
        count = 100000
        parameters = { law = "split" }
        "#,
    )
    .await;
    let ticks = world.run(60).await.unwrap();
    assert_near("Gini", ticks[59].aggregates[0].value.unwrap(), 0.5, 0.002);
}

#[tokio::test]
async fn an_epidemic_reaches_the_part_that_its_equation_says() {
    let test = TestHost::new().await;
    let mut reached = Vec::new();
    for seed in 1..=64 {
        let mut world = world(
            &test,
            &format!(
                r#"
                seed = {seed}
                ticks = 200
                schedule = "by-event"
                aggregates = [{{ name = "immune", of = "people.state", is = {{ share = 2 }}, every = 1000000 }}]
                [[members]]
                role = "people"
                agent = "epidemic"
                count = 10000
                parameters = {{ transmission = 0.2 }}
                attributes = {{ infected = {{ exactly = 1 }} }}
                topology = {{ kind = "random", p = 0.001 }}
                "#
            ),
        )
        .await;
        let ticks = world.run(200).await.unwrap();
        reached.push(ticks[199].aggregates[0].value.unwrap());
    }
    // Some die out before they have begun.
    reached.retain(|reached| *reached > 0.5);
    let mean = reached.iter().sum::<f64>() / reached.len() as f64;
    assert!(reached.len() > 35, "{} of 64 outbreaks are large", reached.len());
    assert_near("reached", mean, 0.796_81, 0.004_3);
}

#[tokio::test]
async fn a_mutant_takes_over_as_often_as_moran_says() {
    let test = TestHost::new().await;
    let mut world = world(
        &test,
        r#"
        seed = 5
        ticks = 60000
        aggregates = [
            { name = "fixed", of = "replicates.fixed", is = "sum", every = 1000000 },
        ]
        [[members]]
        role = "replicates"
        agent = "moran"
        count = 20000
        parameters = { size = 100, fitness = 1.1 }
        "#,
    )
    .await;
    world.run(60_000).await.unwrap();
    let fixed = integers(world.column("replicates", "fixed").await.unwrap());
    let mutants = integers(world.column("replicates", "mutants").await.unwrap());
    assert!(mutants.iter().all(|mutants| *mutants == 0 || *mutants == 100), "some are undecided");
    let expected = (1.0 - 1.1_f64.recip()) / (1.0 - 1.1_f64.powi(-100));
    assert_near("fixed", fixed.iter().sum::<i64>() as f64 / 20_000.0, expected, 0.008);
}

async fn exclusion(schedule: &str, seed: u64, expected: f64) {
    let test = TestHost::new().await;
    let mut world = world(
        &test,
        &format!(
            r#"
            seed = {seed}
            ticks = 8000
            schedule = "{schedule}"
            aggregates = [{{ name = "flow", of = "places.hops", is = "mean" }}]
            [[members]]
            role = "places"
            agent = "exclusion"
            count = 1000
            parameters = {{ p = 0.5 }}
            attributes = {{ occupied = {{ exactly = 500 }} }}
            "#
        ),
    )
    .await;
    let ticks = world.run(8_000).await.unwrap();
    assert_near("flow", mean_from(2_000, 0, &ticks), expected, 0.001);
}

#[tokio::test]
async fn particles_flow_as_their_schedule_lets_them() {
    exclusion("simultaneous", 6, (1.0 - 0.5_f64.sqrt()) / 2.0).await;
    exclusion("random-replace", 7, 0.125).await;
}

#[tokio::test]
async fn spins_are_as_ordered_as_onsager_says() {
    let test = TestHost::new().await;
    let mut world = world(
        &test,
        r#"
        seed = 8
        ticks = 12000
        aggregates = [{ name = "m", of = "spins.spin", is = "mean" }]
        [[members]]
        role = "spins"
        agent = "ising"
        count = 4096
        parameters = { width = 64, temperature = 2.0 }
        topology = { kind = "grid", width = 64 }
        "#,
    )
    .await;
    let ticks = world.run(12_000).await.unwrap();
    assert_near("magnetization", mean_from(2_000, 0, &ticks).abs(), 0.911_32, 0.003);
}

#[tokio::test]
async fn oscillators_fall_into_step_as_kuramoto_says() {
    let test = TestHost::new().await;
    let count = 10_000;
    // Each frequency once that a distribution of Lorentz has at equal distances of its probability.
    let frequency = |place: i32| {
        (std::f64::consts::PI * ((f64::from(place) + 0.5) / f64::from(count) - 0.5)).tan()
    };
    let frequencies: Vec<String> =
        (0..count).map(|place| format!("{:.9}", frequency(place))).collect();
    let mut world = world(
        &test,
        &format!(
            r#"
            seed = 9
            ticks = 1500
            aggregates = [
                {{ name = "mean-cos", of = "oscillators.cos", is = "mean" }},
                {{ name = "mean-sin", of = "oscillators.sin", is = "mean" }},
            ]
            [[members]]
            role = "oscillators"
            agent = "oscillators"
            count = {count}
            parameters = {{ coupling = 4.0, step = 0.01 }}
            attributes = {{ frequency = [{}], phase = {{ uniform = [0.0, 6.283185307179586] }} }}
            "#,
            frequencies.join(", ")
        ),
    )
    .await;
    let ticks = world.run(1_500).await.unwrap();
    let order = |summary: &dormouse::TickSummary| {
        let value = |place: usize| summary.aggregates[place].value.unwrap();
        value(0).hypot(value(1))
    };
    let late: Vec<f64> = ticks[1_000..].iter().map(order).collect();
    assert_near("r", late.iter().sum::<f64>() / late.len() as f64, 0.5_f64.sqrt(), 0.01);
}

#[tokio::test]
async fn deterministic_strategies_come_to_exact_totals() {
    let test = TestHost::new().await;
    let mut world = world(
        &test,
        r#"
        ticks = 201
        [[members]]
        role = "seats"
        agent = "dilemma"
        count = 4
        attributes = { strategy = [2, 2, 1, 1] }
        "#,
    )
    .await;
    world.run(201).await.unwrap();
    let scores = integers(world.column("seats", "score").await.unwrap());
    // Tit for tat against itself, against the one that always defects, the other way, and that against itself.
    assert_eq!(scores, [600, 199, 204, 200]);
}

/// The part of the standard normal distribution below `x`: by the series of Abramowitz and Stegun, 7.1.26, to 10⁻⁷.
fn normal(x: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.327_591_1 * x.abs() / 2.0_f64.sqrt());
    let series = [1.061_405_429, -1.453_152_027, 1.421_413_741, -0.284_496_736, 0.254_829_592];
    let error =
        1.0 - t * series.iter().fold(0.0, |sum, factor| sum * t + factor) * (-x * x / 2.0).exp();
    if x < 0.0 { (1.0 - error) / 2.0 } else { (1.0 + error) / 2.0 }
}

#[tokio::test]
async fn households_segregate_as_those_of_mesa_do() {
    let test = TestHost::new().await;
    let mut alike = Vec::new();
    for seed in 1..=12 {
        let mut world = world(
            &test,
            &format!(
                r#"
                seed = {seed}
                ticks = 100
                schedule = "random"
                aggregates = [{{ name = "alike", of = "households.alike", is = "mean", every = 1000000 }}]
                [[members]]
                role = "households"
                agent = "schelling"
                count = 8000
                parameters = {{ width = 100, homophily = 0.4 }}
                attributes = {{ group = {{ chance = 0.5 }}, place = {{ distinct = 10000 }} }}
                "#
            ),
        )
        .await;
        alike.push(world.run(100).await.unwrap()[99].aggregates[0].value.unwrap());
    }
    alike.sort_by(f64::total_cmp);
    // The test of Kolmogorov and Smirnov, against 0.8204 and a standard deviation of 0.006: twelve runs are further off one time in a
    // thousand.
    let n = alike.len() as f64;
    let distance = alike.iter().zip(0_u32..).map(|(value, rank)| {
        let (is, rank) = (normal((value - 0.8204) / 0.006), f64::from(rank));
        (is - rank / n).max((rank + 1.0) / n - is)
    });
    let distance = distance.fold(0.0, f64::max);
    assert!(distance < 0.525, "{distance}: {alike:?}");
}

/// How well birds fly together in the ticks from this one on: the length of the mean of their directions, tick by tick.
async fn order_of_birds(noise: f64, seed: u64, ticks: u64, from: u64) -> Vec<f64> {
    let test = TestHost::new().await;
    let mut world = world(
        &test,
        &format!(
            r#"
            seed = {seed}
            ticks = {ticks}
            space = {{ size = [10, 10], torus = true }}
            aggregates = [
                {{ name = "east", of = "birds.vx", is = "mean" }},
                {{ name = "north", of = "birds.vy", is = "mean" }},
            ]
            [[members]]
            role = "birds"
            agent = "flock"
            count = 400
            rows = 150
            parameters = {{ noise = {noise} }}
            attributes = {{ x = {{ uniform = [0, 10] }}, y = {{ uniform = [0, 10] }}, heading = {{ uniform = [0, {}] }} }}
            "#,
            std::f64::consts::TAU
        ),
    )
    .await;
    let ticks = world.run(ticks).await.unwrap();
    let order = |summary: &dormouse::TickSummary| {
        let value = |place: usize| summary.aggregates[place].value.unwrap();
        value(0).hypot(value(1))
    };
    ticks[from as usize..].iter().map(order).collect()
}

#[tokio::test]
async fn birds_fly_together_without_noise_and_as_they_like_with_as_much_as_there_is() {
    let together = order_of_birds(0.0, 11, 600, 599).await;
    assert_near("order without noise", together[0], 1.0, 0.001);
    // Each direction is drawn by itself: the mean of 400 of them is as long as that of a walk of 400 steps.
    let alone = order_of_birds(std::f64::consts::TAU, 12, 500, 10).await;
    let mean = alone.iter().sum::<f64>() / alone.len() as f64;
    assert_near("order of nothing but noise", mean, (std::f64::consts::PI / 1_600.0).sqrt(), 0.005);
}
