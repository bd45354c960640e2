//! Members that begin while their world goes on.
//!
//! They get the numbers after all others of their role, in the order of the roles of their parents, of the parents as they acted, and of
//! each parent's own order. They act with the next tick for the first time.

use std::ops::Range;

use borsh::{BorshDeserialize, BorshSerialize};

use super::{RoleOfWorld, World, WorldError, wrong};
use crate::fingerprint::Link;
use crate::spec::MAX_MEMBERS;
use dormouse_domain::simulation::{Births, ColumnSlice, Member, Named};

/// The members of one role that began at the end of a tick.
#[derive(Clone, Debug, Default, BorshSerialize, BorshDeserialize)]
pub(super) struct Newborn {
    first: Member,
    count: u32,
    /// A value of each for each of them.
    attributes: Vec<Named>,
    /// How many of them, the first ones, become rows of an instance that is there.
    joining: u32,
}

impl Newborn {
    pub(super) fn members(&self) -> Range<Member> {
        self.first..self.first + self.count
    }

    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// Those that join the instance that has the rows before them.
    pub(super) fn joining(&self) -> u32 {
        self.joining
    }

    /// The attributes of those in this range of places.
    pub(super) fn attributes(&self, places: Range<usize>) -> Vec<(&str, ColumnSlice<'_>)> {
        let each = self.attributes.iter();
        each.map(|own| (own.name.as_str(), own.values.as_slice().part(places.clone()))).collect()
    }

    pub(super) fn hash(&self, link: &mut Link) {
        if self.count > 0 {
            link.section("newborn", u64::from(self.count));
            link.named(&self.attributes);
        }
    }

    fn add(&mut self, births: Births, rows_act_by_number: bool) -> Result<(), String> {
        let count = births.parents.len();
        if rows_act_by_number && !births.parents.is_sorted() {
            return Err("its newborn are not in the order of their parents".to_owned());
        }
        if let Some(own) = births.attributes.iter().find(|own| own.values.len() != count) {
            return Err(format!(
                "{count} are born with {} values of `{}`",
                own.values.len(),
                own.name
            ));
        }
        if let Some(own) = births.attributes.iter().find(|own| own.values.as_slice().has_nan()) {
            return Err(format!("a value of `{}` is no number (NaN)", own.name));
        }
        if self.count == 0 {
            self.attributes = births.attributes;
        } else {
            let same = self.attributes.len() == births.attributes.len();
            let appended = self.attributes.iter_mut().zip(&births.attributes).all(|(own, more)| {
                own.name == more.name && own.values.append(more.values.as_slice())
            });
            if !same || !appended {
                return Err(
                    "members of one role are born with different attributes in one tick".to_owned()
                );
            }
        }
        self.count += u32::try_from(count).unwrap_or(u32::MAX);
        Ok(())
    }
}

impl World {
    /// Let these members begin: each with the role of its parents, in the order of those.
    pub(super) async fn bear(&mut self, births: Vec<(usize, Births)>) -> Result<(), WorldError> {
        let rows_act_by_number = self.rows_act_by_number();
        for (of, births) in births {
            let at = self.at;
            let target = births.role as usize;
            if target >= self.roles.len() {
                let problem = format!("a member of role {target}, which is not there, is born");
                return Err(wrong(&self.roles[of], at, problem));
            }
            if self.roles[target].sessions.is_some() {
                let problem =
                    format!("a member of role {target} is born, whose members are sessions");
                return Err(wrong(&self.roles[of], at, problem));
            }
            let count = births.parents.len();
            let role = &mut self.roles[target];
            let size = role.size as usize + role.newborn.count as usize + count;
            if size > MAX_MEMBERS as usize {
                return Err(wrong(
                    role,
                    at,
                    format!("it would have more than {MAX_MEMBERS} members"),
                ));
            }
            let added = role.newborn.add(births, rows_act_by_number);
            added.map_err(|problem| wrong(&self.roles[of], at, problem))?;
        }
        for role in 0..self.roles.len() {
            if self.roles[role].newborn.count > 0 {
                self.settle(role).await?;
            }
        }
        Ok(())
    }

    /// Find instances for those who were born in this role.
    async fn settle(&mut self, place: usize) -> Result<(), WorldError> {
        let (at, rows_act_by_number) = (self.at, self.rows_act_by_number());
        let role = &mut self.roles[place];
        let free = role.shards.last().map_or(0, |last| role.rows.saturating_sub(last.count()));
        let newborn = &mut role.newborn;
        newborn.first = role.size;
        newborn.joining = newborn.count.min(free);
        role.size += newborn.count;
        if let Some(ended) = &mut role.ended {
            ended.resize(role.size as usize, false);
        }
        if !rows_act_by_number && role.newborn.joining < role.newborn.count {
            let problem =
                format!("it would have more than the {} members that one instance has", role.rows);
            return Err(wrong(role, at, problem));
        }
        let (count, rows) = (role.newborn.count, role.rows);
        let mut done = role.newborn.joining;
        while done < count {
            let some = (count - done).min(rows);
            let RoleOfWorld { newborn, .. } = &self.roles[place];
            let attributes = newborn.attributes(done as usize..(done + some) as usize);
            let attributes: Vec<Named> = attributes
                .into_iter()
                .map(|(name, values)| Named { name: name.to_owned(), values: values.to_owned() })
                .collect();
            let first = newborn.first + done;
            let shard = self.make_shard(place, first, some, attributes).await?;
            self.roles[place].shards.push(shard);
            done += some;
        }
        Ok(())
    }
}
