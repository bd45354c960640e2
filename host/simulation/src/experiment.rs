//! Experiments: one world with many parameters and seeds.
//!
//! An experiment says which fields of a specification take which values, and how often each combination is run. What it comes to is a
//! list of runs, the same every time: so an experiment that was cut off goes on with those that are missing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::spec::{SpecError, WorldSpec};

/// The most parameters of an experiment, and the most bytes of the name of one.
const MAX_PARAMETERS: usize = 100;
const MAX_WAY: usize = 200;
/// What no parameter is: the table is named by it, or it has a place of its own.
const FIXED: [&str; 4] = ["members", "aggregates", "name", "seed"];
/// The most characters of what is wrong with a run: an error may quote a value.
const MAX_PROBLEM: usize = 500;

/// The most runs of an experiment.
const MAX_RUNS: usize = 1_000_000;

/// Which runs there are of one world.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Experiment {
    /// Values of fields of the specification, by their way: `ticks`, or behind a role, `traders.parameters.law`.
    #[serde(default)]
    pub parameters: BTreeMap<String, Values>,
    /// Which combinations of them there are.
    #[serde(default)]
    pub design: Design,
    /// How often each combination is run, each time with another seed.
    #[serde(default = "once")]
    pub replicates: u32,
    /// What the seeds come from.
    #[serde(default)]
    pub seeds: Seeds,
}

fn once() -> u32 {
    1
}

/// The values of a field, one after the other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(untagged)]
pub enum Values {
    /// These.
    List(Vec<Value>),
    /// Numbers at equal distances.
    Range(ValueRange),
}

/// Numbers at equal distances. Those that are whole are integers, where both ends are.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ValueRange {
    /// The first,
    pub from: f64,
    /// the last,
    pub to: f64,
    /// and how many there are.
    pub count: u32,
}

impl Values {
    /// How many there are.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "an experiment has none without values")]
    pub fn len(&self) -> usize {
        match self {
            Values::List(values) => values.len(),
            Values::Range(range) => range.count as usize,
        }
    }

    /// The value at this place, from 0.
    #[must_use]
    pub fn value(&self, place: usize) -> Value {
        match self {
            Values::List(values) => values.get(place).cloned().unwrap_or_default(),
            Values::Range(ValueRange { from, to, count }) => {
                if place > 0 && place + 1 == *count as usize {
                    return number(*to, [*from, *to]);
                }
                let steps = f64::from(count.saturating_sub(1).max(1));
                #[expect(clippy::cast_precision_loss, reason = "there are a million at most")]
                let value = from + (to - from) * (place as f64) / steps;
                number(value, [*from, *to])
            }
        }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = Value> {
        (0..self.len()).map(|place| self.value(place))
    }
}

/// A number of a range with these ends: an integer, where all of them are whole.
fn number(value: f64, [from, to]: [f64; 2]) -> Value {
    let is_whole = |number: f64| number.fract() == 0.0 && number.abs() < 9e15;
    #[expect(clippy::cast_possible_truncation, reason = "it is whole, and small enough")]
    let whole = || Value::from(value as i64);
    if [from, to, value].into_iter().all(is_whole) { whole() } else { value.into() }
}

/// Which combinations of values are run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Design {
    /// Each value of each field with each of all others.
    #[default]
    Full,
    /// The first values of all fields, the second values, and so on.
    List,
}

/// What the seeds of runs come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "ExperimentSeeds"))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Seeds {
    /// What all of them come from.
    pub base: u64,
    /// Whether replicates of the same number have the same seed in all combinations: then two combinations can be compared pair by
    /// pair.
    pub paired: bool,
}

impl Default for Seeds {
    fn default() -> Seeds {
        Seeds { base: 0, paired: true }
    }
}

/// One run of an experiment.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// Its number, from 0.
    pub number: usize,
    /// The values of the parameters, in the order of their names.
    pub values: Vec<Value>,
    /// Which repetition of the combination it is, from 0.
    pub replicate: u32,
    /// The seed of its world.
    pub seed: u64,
}

impl Run {
    /// What the line of the run in a table begins with: all that tells it from others, as CSV.
    #[must_use]
    pub fn prefix(&self) -> String {
        let mut fields = vec![self.number.to_string()];
        fields.extend(self.values.iter().map(csv_field));
        fields.extend([self.seed.to_string(), self.replicate.to_string()]);
        fields.join(",")
    }
}

/// What the first line of a table of runs says, with these parameters and aggregates.
#[must_use]
pub fn table_names<'a>(
    parameters: impl IntoIterator<Item = &'a str>,
    aggregates: impl IntoIterator<Item = &'a str>,
) -> Vec<&'a str> {
    let before = ["run"].into_iter().chain(parameters).chain(["seed", "replicate"]);
    before.chain(aggregates).chain(["fingerprint"]).collect()
}

/// A value as a field of CSV, on one line.
#[must_use]
pub fn csv_field(value: &Value) -> String {
    let text = match value {
        Value::String(text) if !text.contains(['\n', '\r']) => text.clone(),
        other => other.to_string(),
    };
    let is_plain = !text.contains([',', '"', '\n', '\r']);
    if is_plain { text } else { format!("\"{}\"", text.replace('"', "\"\"")) }
}

impl Experiment {
    /// How many runs there are.
    ///
    /// # Errors
    /// The experiment makes no sense.
    pub fn count(&self) -> Result<usize, SpecError> {
        let invalid =
            |field: &str, problem: String| SpecError::Invalid { field: field.to_owned(), problem };
        if self.replicates == 0 {
            return Err(invalid("replicates", "each combination is run once or more".to_owned()));
        }
        if self.parameters.len() > MAX_PARAMETERS {
            let problem = format!("there may be {MAX_PARAMETERS} of them");
            return Err(invalid("parameters", problem));
        }
        for (name, values) in &self.parameters {
            if name.len() > MAX_WAY || name.chars().any(char::is_control) {
                let problem =
                    format!("a name has {MAX_WAY} bytes at most, and no control characters");
                return Err(invalid("parameters", problem));
            }
            let first = name.split('.').next().unwrap_or_default();
            if FIXED.contains(&first) || name.ends_with(".role") {
                let problem = match first {
                    "seed" => "seeds come from `seeds` and `replicates`",
                    _ => {
                        "it is the same in all runs; a field behind a role is named as `people.count`"
                    }
                };
                return Err(invalid(&format!("parameters.{name}"), problem.to_owned()));
            }
            let ends = match values {
                Values::List(_) => [0.0; 2],
                Values::Range(range) => [range.from, range.to],
            };
            let problem = match values.len() {
                0 => "it has no values",
                _ if !(ends[1] - ends[0]).is_finite() => {
                    "the ends of a range are finite, and so is what lies between them"
                }
                _ => continue,
            };
            return Err(invalid(&format!("parameters.{name}"), problem.to_owned()));
        }
        let lengths: Vec<usize> = self.parameters.values().map(Values::len).collect();
        let combinations = match self.design {
            Design::Full => {
                lengths.iter().try_fold(1_usize, |all, length| all.checked_mul(*length))
            }
            Design::List if lengths.iter().any(|length| *length != lengths[0]) => {
                let problem =
                    "under the design `list` all of them have the same number of values".to_owned();
                return Err(invalid("parameters", problem));
            }
            Design::List => Some(lengths.first().copied().unwrap_or(1)),
        };
        let all = combinations.and_then(|all| all.checked_mul(self.replicates as usize));
        all.filter(|all| *all <= MAX_RUNS).ok_or_else(|| {
            invalid("parameters", format!("there would be more than {MAX_RUNS} runs"))
        })
    }

    /// The run of this number, where there is one ([`Experiment::count`]).
    #[must_use]
    pub fn run(&self, number: usize) -> Run {
        let each = self.replicates.max(1) as usize;
        let (combination, replicate) = (number / each, u32::try_from(number % each).unwrap_or(0));
        let seed = self.seed(if self.seeds.paired { 0 } else { combination }, replicate);
        Run { number, values: self.values(combination), replicate, seed }
    }

    /// All runs, in their order.
    ///
    /// # Errors
    /// The experiment makes no sense.
    pub fn runs(&self) -> Result<Vec<Run>, SpecError> {
        Ok((0..self.count()?).map(|number| self.run(number)).collect())
    }

    /// The world of a run.
    ///
    /// # Errors
    /// A parameter is no field of the specification, or the world makes no sense with it.
    pub fn world(&self, of: &WorldSpec, run: &Run) -> Result<WorldSpec, SpecError> {
        let invalid = |name: &str, problem: String| SpecError::Invalid {
            field: format!("parameters.{name}"),
            problem,
        };
        let mut document =
            serde_json::to_value(of).map_err(|error| invalid("", error.to_string()))?;
        for (name, value) in self.parameters.keys().zip(&run.values) {
            set(&mut document, of, name, value).map_err(|problem| invalid(name, problem))?;
        }
        let read = serde_path_to_error::deserialize(document);
        let mut spec: WorldSpec = read.map_err(|error| {
            // The field of the world, by the name of the parameter that has given it.
            let path = error.path().to_string();
            let is_it = |name: &&String| path.starts_with(&path_of(of, name));
            let name = self.parameters.keys().find(is_it).map_or(path.as_str(), String::as_str);
            let problem: String = error.inner().to_string().chars().take(MAX_PROBLEM).collect();
            invalid(name, problem)
        })?;
        spec.seed = run.seed;
        spec.check()?;
        Ok(spec)
    }

    /// The values of all parameters in this combination: those of the last change first.
    fn values(&self, combination: usize) -> Vec<Value> {
        let mut left = combination;
        let of_one = |values: &Values| match self.design {
            Design::List => values.value(combination),
            Design::Full => {
                let (place, count) = (left, values.len().max(1));
                left /= count;
                values.value(place % count)
            }
        };
        let mut values: Vec<Value> = self.parameters.values().rev().map(of_one).collect();
        values.reverse();
        values
    }

    fn seed(&self, combination: usize, replicate: u32) -> u64 {
        let mut hash =
            blake3::Hasher::new_derive_key("dormouse simulation 2026: the seed of a run");
        hash.update(&self.seeds.base.to_le_bytes());
        hash.update(&(combination as u64).to_le_bytes()).update(&replicate.to_le_bytes());
        let mut seed = [0; 8];
        hash.finalize_xof().fill(&mut seed);
        // TOML and JSON have no larger integers that all programs read.
        u64::from_le_bytes(seed) >> 11
    }
}

/// Another value of one field of a specification, which is a document.
///
/// # Errors
/// What is wrong with the way to the field.
fn set(document: &mut Value, spec: &WorldSpec, way: &str, value: &Value) -> Result<(), String> {
    let (place, mut steps) = steps_of(spec, way);
    let mut field = match place {
        Some(place) => &mut document["members"][place],
        None => document,
    };
    let last = steps.pop().ok_or("it names no field")?;
    for step in steps {
        let own = field.as_object_mut().and_then(|own| own.get_mut(step));
        field = own.ok_or_else(|| format!("the specification has no `{step}` there"))?;
    }
    let own = field.as_object_mut().ok_or("it is within a value")?;
    own.insert(last.to_owned(), value.clone());
    Ok(())
}

/// The place of the role behind which a field is, where it is behind one, and the steps from there to the field.
fn steps_of<'w>(spec: &WorldSpec, way: &'w str) -> (Option<usize>, Vec<&'w str>) {
    let steps: Vec<&str> = way.split('.').collect();
    let place = spec.members.iter().position(|members| members.role == steps[0]);
    (place, steps[usize::from(place.is_some())..].to_vec())
}

/// The same, as an error says where it is.
fn path_of(spec: &WorldSpec, way: &str) -> String {
    let (place, steps) = steps_of(spec, way);
    let role = place.map(|place| format!("members[{place}].")).unwrap_or_default();
    role + &steps.join(".")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn world() -> WorldSpec {
        WorldSpec::from_toml(
            r#"
            ticks = 5
            members = [{ role = "traders", agent = "wealth", count = 10, parameters = { law = "unit" } }]
            "#,
        )
        .expect("a specification")
    }

    fn experiment(document: Value) -> Experiment {
        serde_json::from_value(document).expect("an experiment")
    }

    #[test]
    fn all_combinations_are_run_with_the_seeds_of_their_replicates() {
        let experiment = experiment(json!({
            "parameters": { "ticks": [1, 2, 3], "traders.count": [10, 20] }, "replicates": 2,
        }));
        let runs = experiment.runs().expect("runs");
        assert_eq!(runs.len(), 12);
        let values: Vec<_> = runs.iter().step_by(2).map(|run| run.values.clone()).collect();
        let expected = [[1, 10], [1, 20], [2, 10], [2, 20], [3, 10], [3, 20]];
        assert_eq!(values, expected.map(|values| values.map(Value::from).to_vec()));
        // Paired: the same in all combinations, and another for each replicate.
        assert!(runs.iter().all(|run| run.seed == runs[run.replicate as usize].seed));
        assert_ne!(runs[0].seed, runs[1].seed);
        let spec = experiment.world(&world(), &runs[7]).expect("a world");
        assert_eq!((spec.ticks, spec.members[0].count, spec.seed), (2, 20, runs[7].seed));
    }

    #[test]
    fn a_range_has_both_ends_and_whole_numbers_where_it_can() {
        let experiment = experiment(json!({
            "parameters": {
                "ticks": { "from": 10, "to": 30, "count": 3 },
                "traders.parameters.tax": { "from": 0, "to": 1, "count": 5 },
            },
        }));
        let runs = experiment.runs().expect("runs");
        assert_eq!(runs.len(), 15);
        let whole: Vec<_> = runs.iter().step_by(5).map(|run| run.values[0].clone()).collect();
        assert_eq!(whole, [10, 20, 30].map(Value::from));
        let taxes: Vec<_> = runs[..5].iter().filter_map(|run| run.values[1].as_f64()).collect();
        assert_eq!(taxes, [0.0, 0.25, 0.5, 0.75, 1.0]);
        assert!(experiment.world(&world(), &runs[0]).is_ok());
    }

    #[test]
    fn what_is_not_there_or_makes_no_sense_is_told() {
        let refused = |document: Value| {
            let experiment = experiment(document);
            let runs = experiment.runs();
            let worlds = runs.and_then(|runs| experiment.world(&world(), &runs[0]));
            worlds.expect_err("refused").to_string()
        };
        assert!(refused(json!({ "parameters": { "tiks": [1] } })).contains("tiks"));
        assert!(refused(json!({ "parameters": { "ticks": [0] } })).contains("ticks: a world has"));
        assert!(refused(json!({ "parameters": { "ticks": [] } })).contains("it has no values"));
        assert!(refused(json!({ "parameters": { "a.b": [1] } })).contains("no `a`"));
        assert!(refused(json!({ "parameters": { "members": [[]] } })).contains("the same in all"));
        let wrong = json!({ "parameters": { "traders.count": ["many"] } });
        assert!(refused(wrong).contains("parameters.traders.count: invalid type"));
        let infinite = json!({ "from": -1e308, "to": 1e308, "count": 3 });
        assert!(refused(json!({ "parameters": { "ticks": infinite } })).contains("between them"));
        let range = |count: u32| json!({ "parameters": { "ticks": { "from": 1, "to": 2, "count": count } } });
        assert!(refused(range(0)).contains("it has no values"));
        assert!(refused(range(u32::MAX)).contains("more than 1000000 runs"));
        assert!(refused(json!({ "replicates": 0 })).contains("once or more"));
        assert!(refused(json!({ "parameters": { "seed": [1] } })).contains("seeds come from"));
        let uneven =
            json!({ "parameters": { "ticks": [1, 2], "traders.count": [1] }, "design": "list" });
        assert!(refused(uneven).contains("the same number of values"));
        let many =
            json!({ "parameters": { "ticks": vec![1; 2_000], "traders.count": vec![1; 2_000] } });
        assert!(refused(many).contains("more than 1000000 runs"));
    }
}
