//! Worlds whose members are rows of populations, or sessions of agents.

mod answers;
mod bundles;
mod experiments;
mod kept;
mod misbehaviour;
mod sameness;
mod space;
mod thinking;
mod worlds;

use dormouse::{Column, Simulation, WorldSpec};
use dormouse_tests::TestHost;

/// The world of this specification, before its first tick.
async fn world(test: &TestHost, spec: &str) -> Simulation {
    let spec = WorldSpec::from_toml(spec).unwrap();
    test.host.simulations().make(spec).await.unwrap()
}

fn integers(column: Column) -> Vec<i64> {
    match column {
        Column::Integers(values) => values,
        Column::Numbers(_) | Column::Bytes(_) => panic!("integers are expected"),
    }
}

/// The means of an aggregate, over all ticks from this one on in which it was computed.
fn mean_from(tick: u64, aggregate: usize, ticks: &[dormouse::TickSummary]) -> f64 {
    let values: Vec<f64> = ticks
        .iter()
        .filter(|summary| summary.at >= tick)
        .flat_map(|summary| &summary.aggregates)
        .filter(|own| own.place == aggregate)
        .map(|own| own.value.unwrap())
        .collect();
    values.iter().sum::<f64>() / values.len() as f64
}
