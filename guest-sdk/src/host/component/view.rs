//! Its world as a member sees it: the import `view`, which is in a component only if the agent looks at the world.

use super::{
    Backend,
    imports::{simulation as words, view as wire},
};
use crate::population::{Column, Member, View, ViewError};

impl View for Backend {
    fn size(&self, role: u32) -> Result<u32, ViewError> {
        wire::size(role).map_err(ViewError::from)
    }

    fn neighbours(&self, of: &[Member]) -> Result<(Vec<u32>, Vec<Member>), ViewError> {
        wire::neighbours(of).map_err(ViewError::from)
    }

    fn near(
        &self,
        role: u32,
        of: &[Member],
        radius: f64,
    ) -> Result<(Vec<u32>, Vec<Member>), ViewError> {
        wire::near(role, of, radius).map_err(ViewError::from)
    }

    fn read(&self, role: u32, column: &str, of: &[Member]) -> Result<Column, ViewError> {
        wire::read(role, column, of).map(Column::from).map_err(ViewError::from)
    }

    fn aggregate(&self, name: &str) -> Result<f64, ViewError> {
        wire::aggregate(name).map_err(ViewError::from)
    }
}

// The world of populations has types of its own for the same.

impl From<wire::Error> for ViewError {
    fn from(error: wire::Error) -> Self {
        match error {
            wire::Error::Unknown(what) => ViewError::Unknown(what),
            wire::Error::Gone(member) => ViewError::Gone(member),
        }
    }
}

impl From<words::Column> for Column {
    fn from(column: words::Column) -> Self {
        match column {
            words::Column::Integers(values) => Column::Integers(values),
            words::Column::Numbers(values) => Column::Numbers(values),
            words::Column::Bytes(values) => Column::Bytes(values),
        }
    }
}
