//! What members publish: columns for those who look at the world from outside, for aggregates, and for other members.

use std::collections::BTreeMap;
use std::ops::Range;

use super::make::places_of;
use super::shard::FUEL;
use super::{RoleOfWorld, World, WorldError, wrong};
use crate::aggregate::statistic;
use crate::space::Space;
use crate::spec::AggregateSpec;
use crate::view::SeenRole;
use dormouse_domain::simulation::{Column, Member, Role};

impl World {
    /// All columns of the role of this name, in the order in which its population describes them.
    ///
    /// # Errors
    /// As [`World::column_of`].
    pub async fn columns_of(&mut self, role: &str) -> Result<Vec<(String, Column)>, WorldError> {
        let place = self.place_of(role)?;
        let mut columns = Vec::new();
        for name in self.roles[place].description.columns.clone() {
            let values = self.column(place, &name).await?;
            columns.push((name, values));
        }
        Ok(columns)
    }

    /// How many members of the role of this name there are or were.
    ///
    /// # Errors
    /// There is no such role.
    pub fn size_of(&self, role: &str) -> Result<u32, WorldError> {
        Ok(self.roles[self.place_of(role)?].size)
    }

    /// What these members of a role publish, and no other: by name, in the order in which its population describes it.
    ///
    /// # Errors
    /// As [`World::column`], and where there is no such role.
    pub async fn some_of(
        &mut self,
        role: &str,
        members: Range<Member>,
    ) -> Result<Vec<(String, Column)>, WorldError> {
        let (place, at, now) = (self.place_of(role)?, self.at, self.spec.clock.at(self.at));
        let own = &mut self.roles[place];
        // Those who have just begun publish with their first tick.
        let end = members.end.min(own.size - own.newborn.count());
        let mut columns = Vec::new();
        for (column, name) in own.description.columns.clone().into_iter().enumerate() {
            if let Some(sessions) = &own.sessions {
                let values = sessions.column(column);
                let places = members.start.min(end) as usize..end as usize;
                columns.push((name, values.as_slice().part(places).to_owned()));
                continue;
            }
            let mut some: Option<Column> = None;
            for shard in &mut own.shards {
                let rows = shard.rows();
                let (from, to) = (members.start.max(rows.start), end.min(rows.end));
                if from >= to {
                    continue;
                }
                shard.population.stand_still(now, at);
                let values = shard.publish(&name, FUEL).await;
                let role = own.name.clone();
                let values = values.map_err(|fault| WorldError::Failed { at, role, fault })?;
                let places = (from - rows.start) as usize..(to - rows.start) as usize;
                let part = values.as_slice().part(places);
                let is_of_one_type = match &mut some {
                    None => {
                        some = Some(part.to_owned());
                        true
                    }
                    Some(some) => some.append(part),
                };
                if !is_of_one_type {
                    return Err(wrong(own, at, format!("`{name}` has values of two types")));
                }
            }
            columns.push((name, some.unwrap_or(Column::Integers(Vec::new()))));
        }
        Ok(columns)
    }

    /// The same of one column of the role of this name.
    ///
    /// # Errors
    /// As [`World::column`], and where there is no such role.
    pub async fn column_of(&mut self, role: &str, name: &str) -> Result<Column, WorldError> {
        let place = self.place_of(role)?;
        self.column(place, name).await
    }

    /// What all members of a role publish under this name now, those that have ended included.
    ///
    /// # Errors
    /// They publish nothing of that name, or fail at it.
    pub async fn column(&mut self, role: usize, name: &str) -> Result<Column, WorldError> {
        let (at, now) = (self.at, self.spec.clock.at(self.at));
        let own = &mut self.roles[role];
        if let Some(sessions) = &own.sessions {
            let place = own.description.columns.iter().position(|column| column == name);
            return place.map(|place| sessions.column(place)).ok_or_else(|| {
                let names = own.description.columns.join(", ");
                wrong(own, at, format!("they publish no `{name}`, but {names}"))
            });
        }
        let mut whole: Option<Column> = None;
        for number in 0..own.shards.len() {
            let shard = &mut own.shards[number];
            // Those who have just begun publish with their first tick, whichever instance they are in.
            if shard.rows().start >= own.size - own.newborn.count() {
                break;
            }
            shard.population.stand_still(now, at);
            let part = shard.publish(name, FUEL).await;
            let part =
                part.map_err(|fault| WorldError::Failed { at, role: own.name.clone(), fault })?;
            let is_of_one_type = match &mut whole {
                None => {
                    whole = Some(part);
                    true
                }
                Some(whole) => whole.append(part.as_slice()),
            };
            if !is_of_one_type {
                return Err(wrong(own, at, format!("`{name}` has values of two types")));
            }
        }
        Ok(whole.unwrap_or(Column::Integers(Vec::new())))
    }

    /// What others see of a role of which so many members have begun. Its space is paid for before it is made.
    pub(super) fn show(
        &self,
        role: &RoleOfWorld,
        size: u32,
        columns: BTreeMap<String, Column>,
    ) -> Result<SeenRole, WorldError> {
        if places_of(&self.spec, &role.description.columns).is_some() {
            let charged = self.memory.charge(Space::weight(size));
            charged.map_err(|needed| WorldError::OutOfMemory { needed })?;
        }
        let of = (size, role.topology.clone());
        Ok(SeenRole::new(of, columns, self.spec.space.as_ref(), role.ended.as_deref()))
    }

    /// The columns that instances of a role publish at the end of this tick.
    pub(super) fn wanted(&self, role: usize, due: &[usize]) -> Vec<String> {
        let role = &self.roles[role];
        let mut wanted = role.shown.clone();
        let of_aggregates = due.iter().map(|place| &self.spec.aggregates[*place]).chain(&self.read);
        for aggregate in of_aggregates {
            if let Some((of, column)) = aggregate.of.split_once('.')
                && of == role.name
                && !wanted.iter().any(|name| name == column)
            {
                wanted.push(column.to_owned());
            }
        }
        wanted
    }

    /// Put what an instance has published behind what those before it have.
    pub(super) fn put_together(
        &self,
        role: Role,
        published: Vec<(String, Column)>,
        columns: &mut [BTreeMap<String, Column>],
    ) -> Result<(), WorldError> {
        let own = &self.roles[role as usize];
        for (name, values) in published {
            match columns[role as usize].entry(name) {
                std::collections::btree_map::Entry::Vacant(free) => {
                    free.insert(values);
                }
                std::collections::btree_map::Entry::Occupied(mut before) => {
                    if !before.get_mut().append(values.as_slice()) {
                        let problem = format!("`{}` has values of two types", before.key());
                        return Err(wrong(own, self.at, problem));
                    }
                }
            }
        }
        Ok(())
    }

    /// The value of an aggregate, from what was published at the end of the tick.
    pub(super) fn statistic(
        &self,
        aggregate: &AggregateSpec,
        columns: &[BTreeMap<String, Column>],
    ) -> Option<f64> {
        let (role, column) = aggregate.of.split_once('.')?;
        let place = self.roles.iter().position(|own| own.name == role)?;
        let values = columns[place].get(column)?;
        let ended = self.roles[place].ended.as_deref();
        // Those that were born in this tick have published nothing yet.
        statistic(aggregate.is, values.as_slice(), ended.map(|ended| &ended[..values.len()]))
    }
}
