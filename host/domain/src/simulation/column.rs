//! A value for each of several members.

use borsh::{BorshDeserialize, BorshSerialize};

/// What the values of a column are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub enum ColumnKind {
    /// 64-bit integers.
    Integers,
    /// 64-bit floating-point numbers.
    Numbers,
    /// Bytes: kinds and flags.
    Bytes,
}

/// A value for each of several members.
#[derive(Clone, Debug, PartialEq, BorshSerialize, BorshDeserialize)]
pub enum Column {
    /// 64-bit integers.
    Integers(Vec<i64>),
    /// 64-bit floating-point numbers.
    Numbers(Vec<f64>),
    /// Bytes: kinds and flags.
    Bytes(Vec<u8>),
}

/// The same, or a part of it, borrowed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ColumnSlice<'a> {
    /// 64-bit integers.
    Integers(&'a [i64]),
    /// 64-bit floating-point numbers.
    Numbers(&'a [f64]),
    /// Bytes: kinds and flags.
    Bytes(&'a [u8]),
}

impl ColumnKind {
    /// A column of this kind without values.
    #[must_use]
    pub fn empty(self) -> Column {
        match self {
            ColumnKind::Integers => Column::Integers(Vec::new()),
            ColumnKind::Numbers => Column::Numbers(Vec::new()),
            ColumnKind::Bytes => Column::Bytes(Vec::new()),
        }
    }
}

impl Column {
    /// What its values are.
    #[must_use]
    pub fn kind(&self) -> ColumnKind {
        self.as_slice().kind()
    }

    /// How many values it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of it, borrowed.
    #[must_use]
    pub fn as_slice(&self) -> ColumnSlice<'_> {
        match self {
            Column::Integers(values) => ColumnSlice::Integers(values),
            Column::Numbers(values) => ColumnSlice::Numbers(values),
            Column::Bytes(values) => ColumnSlice::Bytes(values),
        }
    }

    /// Put these values behind its own. Whether they are of its kind: if not, nothing has changed.
    #[must_use]
    pub fn append(&mut self, values: ColumnSlice<'_>) -> bool {
        match (self, values) {
            (Column::Integers(own), ColumnSlice::Integers(more)) => own.extend_from_slice(more),
            (Column::Numbers(own), ColumnSlice::Numbers(more)) => own.extend_from_slice(more),
            (Column::Bytes(own), ColumnSlice::Bytes(more)) => own.extend_from_slice(more),
            (Column::Integers(_) | Column::Numbers(_) | Column::Bytes(_), _) => return false,
        }
        true
    }

    /// The values in these places.
    ///
    /// # Panics
    /// Where there is no such place.
    #[must_use]
    pub fn pick(&self, places: &[u32]) -> Column {
        fn of<T: Copy>(values: &[T], places: &[u32]) -> Vec<T> {
            places.iter().map(|place| values[*place as usize]).collect()
        }
        match self {
            Column::Integers(values) => Column::Integers(of(values, places)),
            Column::Numbers(values) => Column::Numbers(of(values, places)),
            Column::Bytes(values) => Column::Bytes(of(values, places)),
        }
    }
}

impl<'a> ColumnSlice<'a> {
    /// What its values are.
    #[must_use]
    pub fn kind(self) -> ColumnKind {
        match self {
            ColumnSlice::Integers(_) => ColumnKind::Integers,
            ColumnSlice::Numbers(_) => ColumnKind::Numbers,
            ColumnSlice::Bytes(_) => ColumnKind::Bytes,
        }
    }

    /// How many values it has.
    #[must_use]
    pub fn len(self) -> usize {
        match self {
            ColumnSlice::Integers(values) => values.len(),
            ColumnSlice::Numbers(values) => values.len(),
            ColumnSlice::Bytes(values) => values.len(),
        }
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// What its values take, in bytes.
    #[must_use]
    pub fn bytes(self) -> u64 {
        match self {
            ColumnSlice::Integers(values) => size_of_val(values) as u64,
            ColumnSlice::Numbers(values) => size_of_val(values) as u64,
            ColumnSlice::Bytes(values) => values.len() as u64,
        }
    }

    /// The values in this range of places.
    ///
    /// # Panics
    /// Where it goes beyond the last.
    #[must_use]
    pub fn part(self, places: std::ops::Range<usize>) -> ColumnSlice<'a> {
        match self {
            ColumnSlice::Integers(values) => ColumnSlice::Integers(&values[places]),
            ColumnSlice::Numbers(values) => ColumnSlice::Numbers(&values[places]),
            ColumnSlice::Bytes(values) => ColumnSlice::Bytes(&values[places]),
        }
    }

    /// The value in this place as a number.
    ///
    /// # Panics
    /// Where there is no such place.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "whoever asks for a number takes the nearest")]
    pub fn number(self, place: usize) -> f64 {
        match self {
            ColumnSlice::Integers(values) => values[place] as f64,
            ColumnSlice::Numbers(values) => values[place],
            ColumnSlice::Bytes(values) => f64::from(values[place]),
        }
    }

    /// A copy of it.
    #[must_use]
    pub fn to_owned(self) -> Column {
        match self {
            ColumnSlice::Integers(values) => Column::Integers(values.to_vec()),
            ColumnSlice::Numbers(values) => Column::Numbers(values.to_vec()),
            ColumnSlice::Bytes(values) => Column::Bytes(values.to_vec()),
        }
    }

    /// Whether one of its values is no number.
    #[must_use]
    pub fn has_nan(self) -> bool {
        match self {
            ColumnSlice::Numbers(values) => values.iter().any(|value| value.is_nan()),
            ColumnSlice::Integers(_) | ColumnSlice::Bytes(_) => false,
        }
    }
}
