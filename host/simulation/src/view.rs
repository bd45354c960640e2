//! A world as its members see it: as it was at the end of the last tick.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::topology::Topology;
use dormouse_domain::simulation::{Column, ColumnSlice, Member, Role};
use dormouse_sandbox::{View, ViewError};

/// What members of all roles see.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// For each role.
    pub(crate) roles: Vec<SeenRole>,
    /// Those that members read. Empty ones have no value yet.
    pub(crate) aggregates: BTreeMap<String, Option<f64>>,
}

/// What members of all roles see of one.
#[derive(Debug)]
pub(crate) struct SeenRole {
    pub(crate) size: u32,
    pub(crate) topology: Arc<Topology>,
    /// The columns that somebody reads.
    pub(crate) columns: BTreeMap<String, Column>,
}

/// The world, seen by members of one role.
pub(crate) struct SeenBy {
    pub(crate) world: Arc<Seen>,
    pub(crate) role: Role,
}

impl SeenBy {
    fn role(&self, role: Role) -> Result<&SeenRole, ViewError> {
        let roles = self.world.roles.len();
        let none = || ViewError::Unknown(format!("there is no role {role}: the world has {roles}"));
        self.world.roles.get(role as usize).ok_or_else(none)
    }
}

impl View for SeenBy {
    fn size(&self, role: Role) -> Result<u32, ViewError> {
        Ok(self.role(role)?.size)
    }

    fn neighbours(&self, of: Member) -> Result<&[Member], ViewError> {
        let own = self.role(self.role)?;
        if of >= own.size {
            return Err(ViewError::Gone(of));
        }
        Ok(own.topology.neighbours(of))
    }

    fn column(&self, role: Role, name: &str) -> Result<ColumnSlice<'_>, ViewError> {
        let of = self.role(role)?;
        let none = || {
            let names: Vec<&str> = of.columns.keys().map(String::as_str).collect();
            ViewError::Unknown(format!(
                "role {role} shows no column `{name}`, but {}; a population describes what its rows read",
                if names.is_empty() { "none".to_owned() } else { names.join(", ") }
            ))
        };
        of.columns.get(name).map(Column::as_slice).ok_or_else(none)
    }

    fn aggregate(&self, name: &str) -> Result<f64, ViewError> {
        match self.world.aggregates.get(name) {
            Some(Some(value)) => Ok(*value),
            Some(None) => {
                Err(ViewError::Unknown(format!("`{name}` has no value: there are no members")))
            }
            None => Err(ViewError::Unknown(format!(
                "the world shows no aggregate `{name}`: its specification has none of that name, or the population \
                 does not describe that its rows read it"
            ))),
        }
    }
}
