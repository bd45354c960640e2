//! `dormouse sim diff`: in what two worlds differ.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::Result;
use clap::{ArgMatches, Command};
use serde_json::{Value, json};

use super::fork::bundle_argument;
use super::{json_argument, open};
use dormouse::Bundle;

pub(super) fn command() -> Command {
    Command::new("diff")
        .about(
            "Compare the worlds of two bundles: the first tick that differs, and their aggregates",
        )
        .arg(bundle_argument("one"))
        .arg(bundle_argument("other"))
        .arg(json_argument())
}

pub(super) async fn run(given: &ArgMatches) -> Result<ExitCode> {
    let path = |name: &str| given.get_one::<String>(name).map_or("", String::as_str);
    let difference = Difference::of(&open(path("one"))?, &open(path("other"))?);
    if given.get_flag("json") {
        println!("{}", difference.document());
    } else {
        print!("{}", difference.told("one", "other"));
    }
    Ok(ExitCode::SUCCESS)
}

/// In what two worlds differ.
pub(super) struct Difference {
    compared: usize,
    /// The first tick that comes to something else.
    pub(super) first: Option<usize>,
    /// The last value of each aggregate that both have.
    aggregates: BTreeMap<String, (Option<f64>, Option<f64>)>,
}

impl Difference {
    pub(super) fn of(one: &Bundle, other: &Bundle) -> Difference {
        let (hashes, others) = (&one.record.hashes, &other.record.hashes);
        let (last, of_other) = (last(one), last(other));
        let both = last.into_iter().filter_map(|(name, value)| {
            of_other.get(&name).map(|other| (name.clone(), (value, *other)))
        });
        Difference {
            compared: hashes.len().min(others.len()),
            first: hashes.iter().zip(others).position(|(one, other)| one != other),
            aggregates: both.collect(),
        }
    }

    fn document(&self) -> Value {
        let pair = |(name, (one, other)): (&String, &(Option<f64>, Option<f64>))| {
            (name.clone(), json!({ "one": one, "other": other }))
        };
        let aggregates: serde_json::Map<_, _> = self.aggregates.iter().map(pair).collect();
        json!({ "compared": self.compared, "first": self.first, "aggregates": aggregates })
    }

    /// The same for people, with what the two are called.
    pub(super) fn told(&self, one: &str, other: &str) -> String {
        let mut text = match self.first {
            Some(first) => format!("tick {first} is the first that differs\n"),
            None => format!("all {} ticks are the same\n", self.compared),
        };
        if !self.aggregates.is_empty() {
            text.push_str(&format!("{:>20}  {one:>16}  {other:>16}\n", ""));
        }
        let value = |value: &Option<f64>| value.map_or("none".to_owned(), |it| format!("{it:.6}"));
        for (name, (one, other)) in &self.aggregates {
            text.push_str(&format!("{name:>20}  {:>16}  {:>16}\n", value(one), value(other)));
        }
        text
    }
}

fn last(bundle: &Bundle) -> BTreeMap<String, Option<f64>> {
    let all = bundle.record.aggregates.iter();
    // Those of later ticks come later.
    all.filter_map(|own| Some((bundle.spec.aggregates.get(own.place)?.name.clone(), own.value)))
        .collect()
}
