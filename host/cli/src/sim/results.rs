//! The results of a world as files: what pandas, polars and spreadsheets read.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use parquet::basic::{LogicalType, Repetition, Type as Physical};
use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int32Type, Int64Type};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::Type;
use serde::Serialize;
use serde_json::Value;

use dormouse::{AggregateValue, Bundle, Column, Simulation};

/// Write all results into this folder.
pub(super) async fn write(
    out: &Path,
    world: &mut Simulation,
    bundle: &Bundle,
    summary: &Value,
) -> Result<()> {
    let create = |name: &str| -> Result<BufWriter<File>> {
        let path = out.join(name);
        let file =
            File::create(&path).with_context(|| format!("{} cannot be written", path.display()))?;
        Ok(BufWriter::new(file))
    };
    bundle.write(create("bundle")?)?;
    let mut aggregates = create("aggregates.csv")?;
    bundle.write_aggregates(&mut aggregates)?;
    aggregates.flush()?;
    write_lines(create("aggregates.jsonl")?, bundle)?;
    aggregate_table(bundle).write(create("aggregates.parquet")?)?;
    let mut told = create("summary.json")?;
    serde_json::to_writer_pretty(&mut told, summary)?;
    told.flush()?;
    for members in &bundle.spec.members {
        let columns = world.columns(&members.role).await?;
        let mut file = create(&format!("members-{}.csv", members.role))?;
        write_columns(&mut file, &columns)?;
        file.flush()?;
        let file = create(&format!("members-{}.parquet", members.role))?;
        member_table(columns).write(file)?;
    }
    Ok(())
}

/// An aggregate as a JSON object.
#[derive(Serialize)]
struct Line<'a> {
    tick: u64,
    name: &'a str,
    value: Option<f64>,
}

/// The aggregates, a JSON object each.
fn write_lines(mut file: impl Write, bundle: &Bundle) -> Result<()> {
    for own in &bundle.record.aggregates {
        let line = Line { tick: own.at, name: name_of(bundle, own), value: own.value };
        writeln!(file, "{}", serde_json::to_string(&line)?)?;
    }
    Ok(file.flush()?)
}

fn name_of<'b>(bundle: &'b Bundle, own: &AggregateValue) -> &'b str {
    bundle.spec.aggregates.get(own.place).map_or("", |aggregate| aggregate.name.as_str())
}

/// What all members of a role publish at the end, a line each.
fn write_columns(file: &mut impl Write, columns: &[(String, Column)]) -> Result<()> {
    write!(file, "member")?;
    for (name, _) in columns {
        write!(file, ",{name}")?;
    }
    writeln!(file)?;
    for member in 0..count(columns) {
        write!(file, "{member}")?;
        for (_, values) in columns {
            match values {
                Column::Integers(values) => write!(file, ",{}", values[member])?,
                Column::Numbers(values) => write!(file, ",{:?}", values[member])?,
                Column::Bytes(values) => write!(file, ",{}", values[member])?,
            }
        }
        writeln!(file)?;
    }
    Ok(())
}

fn count(columns: &[(String, Column)]) -> usize {
    columns.iter().map(|(_, values)| values.len()).max().unwrap_or(0)
}

/// A table, as Parquet has one.
struct Table {
    columns: Vec<(String, Values)>,
}

/// The values of a column.
enum Values {
    Integers(Vec<i64>),
    Bytes(Vec<i32>),
    Numbers(Vec<f64>),
    /// Numbers of which some are missing.
    Some(Vec<Option<f64>>),
    Texts(Vec<ByteArray>),
}

fn aggregate_table(bundle: &Bundle) -> Table {
    let all = &bundle.record.aggregates;
    let tick = |own: &AggregateValue| i64::try_from(own.at).unwrap_or(i64::MAX);
    let name = |own: &AggregateValue| ByteArray::from(name_of(bundle, own).as_bytes().to_vec());
    let columns = [
        ("tick", Values::Integers(all.iter().map(tick).collect())),
        ("name", Values::Texts(all.iter().map(name).collect())),
        ("value", Values::Some(all.iter().map(|own| own.value).collect())),
    ];
    Table { columns: columns.map(|(name, values)| (name.to_owned(), values)).into() }
}

fn member_table(columns: Vec<(String, Column)>) -> Table {
    let members = (0..).take(count(&columns)).collect();
    let numbers = std::iter::once(("member".to_owned(), Values::Integers(members)));
    let values = |(name, values)| {
        let values = match values {
            Column::Integers(values) => Values::Integers(values),
            Column::Numbers(values) => Values::Numbers(values),
            Column::Bytes(values) => Values::Bytes(values.into_iter().map(i32::from).collect()),
        };
        (name, values)
    };
    Table { columns: numbers.chain(columns.into_iter().map(values)).collect() }
}

impl Table {
    fn write(self, file: impl Write + Send) -> Result<()> {
        let fields = self.columns.iter().map(|(name, values)| values.field(name));
        let fields = fields.collect::<Result<Vec<_>>>()?;
        let schema = Arc::new(Type::group_type_builder("table").with_fields(fields).build()?);
        let mut writer = SerializedFileWriter::new(file, schema, Arc::default())?;
        let mut rows = writer.next_row_group()?;
        for (_, values) in self.columns {
            values.write(&mut rows)?;
        }
        rows.close()?;
        writer.close()?;
        Ok(())
    }
}

impl Values {
    fn field(&self, name: &str) -> Result<Arc<Type>> {
        let (physical, repetition, logical) = match self {
            Values::Integers(_) => (Physical::INT64, Repetition::REQUIRED, None),
            Values::Bytes(_) => (Physical::INT32, Repetition::REQUIRED, None),
            Values::Numbers(_) => (Physical::DOUBLE, Repetition::REQUIRED, None),
            Values::Some(_) => (Physical::DOUBLE, Repetition::OPTIONAL, None),
            Values::Texts(_) => {
                (Physical::BYTE_ARRAY, Repetition::REQUIRED, Some(LogicalType::String))
            }
        };
        let field = Type::primitive_type_builder(name, physical).with_repetition(repetition);
        Ok(Arc::new(field.with_logical_type(logical).build()?))
    }

    fn write<W: Write + Send>(self, rows: &mut SerializedRowGroupWriter<'_, W>) -> Result<()> {
        let mut column = rows.next_column()?.context("a column for each field")?;
        match self {
            Values::Integers(values) => {
                column.typed::<Int64Type>().write_batch(&values, None, None)?
            }
            Values::Bytes(values) => {
                column.typed::<Int32Type>().write_batch(&values, None, None)?
            }
            Values::Numbers(values) => {
                column.typed::<DoubleType>().write_batch(&values, None, None)?
            }
            Values::Some(values) => {
                let is_there: Vec<i16> =
                    values.iter().map(|value| i16::from(value.is_some())).collect();
                let values: Vec<f64> = values.into_iter().flatten().collect();
                column.typed::<DoubleType>().write_batch(&values, Some(&is_there), None)?
            }
            Values::Texts(values) => {
                column.typed::<ByteArrayType>().write_batch(&values, None, None)?
            }
        };
        column.close()?;
        Ok(())
    }
}
