//! The tables that a specification names: CSV files beside it.

use std::path::Path;

use anyhow::{Context, Result, bail};
use csv::{ReaderBuilder, StringRecord};
use serde_json::Value;

use dormouse::world_spec::{AttributeSpec, MembersSpec, TopologySpec};
use dormouse::{Host, JsonObject, WorldSpec};

/// Put what is in the tables of this folder into the specification that names them.
pub(super) async fn read(host: &Host, spec: &mut WorldSpec, folder: &Path) -> Result<()> {
    for (place, members) in spec.members.iter_mut().enumerate() {
        if let Some(file) = members.from.take() {
            let table = Table::open(&folder.join(&file));
            let table = table.with_context(|| format!("members[{place}].from: {file}"))?;
            let rows = is_population(host, &members.agent).await;
            put(members, table, rows).with_context(|| format!("members[{place}].from: {file}"))?;
        }
        if let TopologySpec::Edges { edges, from } = &mut members.topology
            && let Some(file) = from.take()
        {
            let field = || format!("members[{place}].topology.from: {file}");
            let table = Table::open(&folder.join(&file)).with_context(field)?;
            *edges = table.pairs().with_context(field)?;
        }
    }
    Ok(())
}

/// Whether members of this agent are rows.
async fn is_population(host: &Host, agent: &str) -> bool {
    let Ok(selector) = agent.parse() else { return false };
    let found = host.agents().get(selector).await;
    found.is_ok_and(|agent| {
        agent.component.exports.kind() == Some(dormouse::ComponentKind::Population)
    })
}

/// Give the members of a role what is in a table.
fn put(members: &mut MembersSpec, table: Table, are_rows: bool) -> Result<()> {
    let count = u32::try_from(table.lines.len()).context("it has too many lines")?;
    if members.count != 0 && members.count != count {
        bail!("it has {count} lines, and `count` is {}", members.count);
    }
    members.count = count;
    if !are_rows {
        members.each = table.objects();
        return Ok(());
    }
    for (place, name) in table.names.iter().enumerate() {
        // What is no number is for people.
        if let Some(numbers) = table.numbers(place) {
            members.attributes.insert(name.to_owned(), AttributeSpec::Numbers(numbers));
        }
    }
    Ok(())
}

/// What is in a file: a line of names, and then lines with as many values.
struct Table {
    names: StringRecord,
    lines: Vec<StringRecord>,
}

impl Table {
    fn open(path: &Path) -> Result<Table> {
        let mut reader = ReaderBuilder::new().from_path(path)?;
        let names = reader.headers()?.clone();
        if let Some(twice) = names.iter().enumerate().find_map(|(place, name)| {
            names.iter().take(place).any(|other| other == name).then_some(name)
        }) {
            bail!("it has two columns by the name `{twice}`");
        }
        let lines = reader.records().collect::<Result<Vec<_>, _>>()?;
        if lines.is_empty() {
            bail!("it has no lines behind its names");
        }
        Ok(Table { names, lines })
    }

    /// Each line as a JSON object: numbers, `true` and `false`, and texts.
    fn objects(&self) -> Vec<JsonObject> {
        let object = |line: &StringRecord| {
            let values = line.iter().map(value);
            self.names.iter().map(str::to_owned).zip(values).collect()
        };
        self.lines.iter().map(object).collect()
    }

    /// A column, where all of its values are numbers.
    fn numbers(&self, place: usize) -> Option<Vec<f64>> {
        let number = |line: &StringRecord| line.get(place)?.trim().parse::<f64>().ok();
        self.lines.iter().map(|line| number(line).filter(|number| number.is_finite())).collect()
    }

    /// The first two columns, as pairs of members.
    fn pairs(&self) -> Result<Vec<(u32, u32)>> {
        let member = |line: &StringRecord, place: usize| {
            line.get(place).and_then(|value| value.trim().parse::<u32>().ok())
        };
        let pair = |(number, line): (usize, &StringRecord)| {
            let pair = member(line, 0).zip(member(line, 1));
            pair.with_context(|| format!("line {number} has no two numbers of members"))
        };
        (2..).zip(&self.lines).map(pair).collect()
    }
}

/// A value as JSON.
fn value(text: &str) -> Value {
    let text = text.trim();
    let number = || text.parse::<f64>().ok().filter(|number| number.is_finite());
    match (text.parse::<i64>(), number(), text.parse::<bool>()) {
        (Ok(value), _, _) => value.into(),
        (_, Some(value), _) => value.into(),
        (_, _, Ok(value)) => value.into(),
        _ => text.into(),
    }
}
