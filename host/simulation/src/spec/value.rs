//! Values of a specification that have several forms.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How many rows an instance has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RowsSpec {
    /// As many as are fast.
    #[default]
    Auto,
    /// This many at most.
    AtMost(u32),
}

impl Serialize for RowsSpec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            RowsSpec::Auto => serializer.serialize_str("auto"),
            RowsSpec::AtMost(rows) => serializer.serialize_u32(*rows),
        }
    }
}

impl<'de> Deserialize<'de> for RowsSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<RowsSpec, D::Error> {
        match RowsForm::deserialize(deserializer)? {
            RowsForm::Count(rows @ 1..) => Ok(RowsSpec::AtMost(rows)),
            RowsForm::Word(word) if word == "auto" => Ok(RowsSpec::Auto),
            RowsForm::Count(0) | RowsForm::Word(_) => {
                Err(D::Error::custom("rows are `auto`, or how many an instance has: 1 or more"))
            }
        }
    }
}

/// How many rows an instance has, as it is written: `"auto"`, or a number.
#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(untagged)]
pub(super) enum RowsForm {
    /// So many at most.
    Count(u32),
    /// `auto`.
    Word(String),
}

/// What each member has from its beginning: the same, one each, or what chance gives.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(untagged)]
pub enum AttributeSpec {
    /// The same integer for all.
    Integer(i64),
    /// The same number for all.
    Number(f64),
    /// An integer for each.
    Integers(Vec<i64>),
    /// A number for each.
    Numbers(Vec<f64>),
    /// What chance gives.
    Drawn(Distribution),
}

/// What chance gives.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Distribution {
    /// A number from the first up to, and without, the second.
    Uniform(f64, f64),
    /// An integer from the first to the second.
    Integers(i64, i64),
    /// A normal distribution: its mean and its standard deviation.
    Normal(f64, f64),
    /// A distribution of Cauchy, which is also one of Lorentz: its median and its scale.
    Cauchy(f64, f64),
    /// 1 with this probability, and otherwise 0.
    Chance(f64),
    /// An integer from 0 up to, and without, this: no two members have the same.
    Distinct(u32),
    /// Exactly so many have 1 and all others 0: which, chance decides.
    Exactly(u32),
}
