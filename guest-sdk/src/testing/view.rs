//! The simulated world that an agent under test is a member of.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::MockHost;
use super::world::Backend;
use crate::{
    Agent,
    handler::{Json, Part, Reply, Result, Sender, Turn},
    population::{Column, Member, View, ViewError},
    world::{self, Moment, WORLD, base64},
};

/// What a test has said of the world.
#[derive(Debug, Default)]
pub(super) struct SeenWorld {
    /// The tick that the agent answers. `None`: its turn is none of its world.
    pub(super) moment: Option<Moment>,
    neighbours: BTreeMap<Member, Vec<Member>>,
    /// By the name of the role, and the member to whom its members are near.
    near: BTreeMap<(String, Member), Vec<Member>>,
    /// By the name of the role.
    sizes: BTreeMap<String, u32>,
    /// By the name of the role, and that of the column.
    columns: BTreeMap<(String, String), Column>,
    aggregates: BTreeMap<String, f64>,
}

impl MockHost {
    /// Sets who stands next to a member of the agent's role: nobody unless it is set.
    #[must_use]
    pub fn with_neighbours(self, of: Member, neighbours: impl Into<Vec<Member>>) -> Self {
        self.world().seen.neighbours.insert(of, neighbours.into());
        self
    }

    /// Sets which members of a role are near a member of the agent's role, within whatever radius: nobody unless it is set.
    #[must_use]
    pub fn with_near(
        self,
        role: impl Into<String>,
        of: Member,
        near: impl Into<Vec<Member>>,
    ) -> Self {
        self.world().seen.near.insert((role.into(), of), near.into());
        self
    }

    /// Sets how many members of a role there are.
    #[must_use]
    pub fn with_members(self, role: impl Into<String>, count: u32) -> Self {
        self.world().seen.sizes.insert(role.into(), count);
        self
    }

    /// Sets what the members of a role have published, from member 0 on.
    #[must_use]
    pub fn with_published(
        self,
        role: impl Into<String>,
        column: impl Into<String>,
        values: Column,
    ) -> Self {
        self.world().seen.columns.insert((role.into(), column.into()), values);
        self
    }

    /// Sets what an aggregate of the world is.
    #[must_use]
    pub fn with_aggregate(self, name: impl Into<String>, value: f64) -> Self {
        self.world().seen.aggregates.insert(name.into(), value);
        self
    }

    /// Has an agent take its turn in a tick of a world. [`Moment::new`] makes a moment.
    ///
    /// In such a turn the agent may write to each address of a role that the moment has.
    ///
    /// # Errors
    ///
    /// The agent's.
    pub fn tick<A: Agent>(&mut self, agent: &mut A, moment: &Moment) -> Result<Reply> {
        let document = Json::from_text(document(moment).to_string());
        let mut turn = Turn::new([Part::Json(document)]);
        turn.sender = Sender::Agent(WORLD.to_owned());
        self.send(agent, turn)
    }
}

/// A moment as the host tells it.
fn document(moment: &Moment) -> Value {
    let mail = |mail: &world::Mail| {
        let content: Vec<Value> = mail.content.iter().map(part).collect();
        json!({ "from": mail.from, "content": content })
    };
    let effect = |effect: &world::Effect| {
        let world::Effect { kind, role, from, value } = effect;
        json!({ "kind": kind, "role": role, "from": from, "value": value })
    };
    let timer = |timer: &world::DueTimer| json!({ "name": timer.name, "message": timer.message });
    json!({
        "tick": moment.tick,
        "role": moment.role,
        "member": moment.member,
        "roles": moment.roles,
        "mail": moment.mail.iter().map(mail).collect::<Vec<_>>(),
        "effects": moment.effects.iter().map(effect).collect::<Vec<_>>(),
        "dropped": moment.dropped,
        "timers": moment.timers.iter().map(timer).collect::<Vec<_>>(),
    })
}

fn part(part: &Part) -> Value {
    match part {
        Part::Text(text) => json!({ "text": text }),
        Part::Json(document) => {
            let value: Value = document.decode().expect("a part of JSON is a JSON document");
            json!({ "json": value })
        }
        Part::Blob(blob) => {
            let data = base64::encode(&blob.data);
            json!({ "blob": { "mediaType": blob.media_type, "data": data } })
        }
    }
}

impl SeenWorld {
    /// Whether this is an address of a member of a role that the world has.
    pub(super) fn has_role_of(&self, address: &str) -> bool {
        let Some((role, number)) = address.split_once('/') else { return false };
        let mut roles = self.moment.iter().flat_map(|moment| &moment.roles);
        roles.any(|own| own == role) && number.parse::<Member>().is_ok()
    }

    /// The tick that the agent answers.
    fn moment(&self) -> &Moment {
        let Some(moment) = &self.moment else {
            panic!("a world can be seen by its members alone, in a turn that it has sent");
        };
        moment
    }

    fn role(&self, role: u32) -> Result<&str, ViewError> {
        let name = self.moment().roles.get(role as usize);
        name.map(String::as_str).ok_or_else(|| unknown("role", &role.to_string()))
    }
}

impl View for Backend {
    fn size(&self, role: u32) -> Result<u32, ViewError> {
        let seen = &self.0.borrow().seen;
        let role = seen.role(role)?;
        seen.sizes.get(role).copied().ok_or_else(|| unknown("number of members of", role))
    }

    fn neighbours(&self, of: &[Member]) -> Result<(Vec<u32>, Vec<Member>), ViewError> {
        let seen = &self.0.borrow().seen;
        seen.moment();
        let (mut offsets, mut all): (Vec<u32>, Vec<Member>) = (vec![0], Vec::new());
        for member in of {
            all.extend(seen.neighbours.get(member).into_iter().flatten());
            offsets.push(all.len() as u32);
        }
        Ok((offsets, all))
    }

    fn near(
        &self,
        role: u32,
        of: &[Member],
        radius: f64,
    ) -> Result<(Vec<u32>, Vec<Member>), ViewError> {
        assert!(radius >= 0.0, "a radius is a number that is 0 or more");
        let seen = &self.0.borrow().seen;
        let role = seen.role(role)?;
        let (mut offsets, mut all): (Vec<u32>, Vec<Member>) = (vec![0], Vec::new());
        for member in of {
            all.extend(seen.near.get(&(role.to_owned(), *member)).into_iter().flatten());
            offsets.push(all.len() as u32);
        }
        Ok((offsets, all))
    }

    fn read(&self, role: u32, column: &str, of: &[Member]) -> Result<Column, ViewError> {
        let seen = &self.0.borrow().seen;
        let name = (seen.role(role)?.to_owned(), column.to_owned());
        let values = seen.columns.get(&name).ok_or_else(|| unknown("column", column))?;
        Ok(match values {
            Column::Integers(values) => Column::Integers(picked(values, of)?),
            Column::Numbers(values) => Column::Numbers(picked(values, of)?),
            Column::Bytes(values) => Column::Bytes(picked(values, of)?),
        })
    }

    fn aggregate(&self, name: &str) -> Result<f64, ViewError> {
        let seen = &self.0.borrow().seen;
        seen.moment();
        seen.aggregates.get(name).copied().ok_or_else(|| unknown("aggregate", name))
    }
}

fn unknown(what: &str, name: &str) -> ViewError {
    ViewError::Unknown(format!("the test has given the mock no {what} `{name}`"))
}

/// The values of these members.
fn picked<T: Copy>(values: &[T], of: &[Member]) -> Result<Vec<T>, ViewError> {
    let value =
        |member: &Member| values.get(*member as usize).copied().ok_or(ViewError::Gone(*member));
    of.iter().map(value).collect()
}
