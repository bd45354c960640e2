//! A world as its members see it: as it was at the end of the last tick.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::space::Space;
use crate::spec::SpaceSpec;
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
    /// Where its members are. `None`: the world has no space, or they are not in it.
    pub(crate) space: Option<Space>,
}

impl SeenRole {
    /// What is seen of these members, of whom some have ended.
    pub(crate) fn new(
        (size, topology): (u32, Arc<Topology>),
        columns: BTreeMap<String, Column>,
        space: Option<&SpaceSpec>,
        ended: Option<&[bool]>,
    ) -> SeenRole {
        let space = space.and_then(|space| {
            let [x, y] = &space.columns;
            let (x, y) = (columns.get(x)?.as_slice(), columns.get(y)?.as_slice());
            Some(Space::of(space, [x, y], ended))
        });
        SeenRole { size, topology, columns, space }
    }
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

    /// Where the members of a role are, and where this member of the own role is.
    fn space(&self, role: Role, of: Member) -> Result<(&Space, [f64; 2]), ViewError> {
        let space = |role: Role| {
            let none = || {
                ViewError::Unknown(format!(
                    "members of role {role} are in no space: the specification of the world has to say `space`, and they have to \
                     publish both of its columns"
                ))
            };
            self.role(role)?.space.as_ref().ok_or_else(none)
        };
        let place = space(self.role)?.place(of).ok_or(ViewError::Gone(of))?;
        Ok((space(role)?, place))
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

    fn work_of_near(&self, role: Role, of: Member, radius: f64) -> Result<u64, ViewError> {
        let (space, place) = self.space(role, of)?;
        Ok(space.around(place, radius))
    }

    fn near(
        &self,
        role: Role,
        of: Member,
        radius: f64,
        most: usize,
        found: &mut Vec<Member>,
    ) -> Result<(), ViewError> {
        let (space, place) = self.space(role, of)?;
        let without = (role == self.role).then_some(of);
        space.near(place, radius, without, most, found);
        Ok(())
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
