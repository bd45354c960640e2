//! Agents that are members of simulated worlds.
//!
//! A world goes from one tick to the next. Its members are the rows of a [`population`](crate::population) or, where they think
//! or other people wrote them, agents: each member is an agent in an instance of its own. In each tick in which it acts an agent
//! has one turn, from the world: [`Moment::of`] reads what the turn says. All other turns of the agent are not of its world, such
//! as the questions of an interview.
//!
//! In a turn of its world an agent writes to other agents with [`Host::peers`], whose addresses are a role and a number, such as
//! `people/5`: mail arrives with the next tick. It publishes numbers with [`Host::metrics`], under the names that the
//! specification of the world lists as `columns`. It looks at the world with [`Host::world`], asks models, and sets timers by
//! the clock of the world. It has no tools and no HTTP, and asks no peers. A reply that is
//! [`completing`](crate::Reply::completing) ends the member. Its configuration ([`Session::config`](crate::session::Session::config))
//! is the `config` of its role, its attributes by their names, and what the specification says for this one member.
//!
//! ```
//! use dormouse_sdk::{prelude::*, world::Moment};
//!
//! /// Passes on the first text that it hears, once.
//! #[derive(Default, Serialize, Deserialize)]
//! struct Gossip { heard: Option<String> }
//!
//! impl Agent for Gossip {
//!     fn handle(&mut self, turn: &Turn, host: &Host) -> Result<Reply> {
//!         let Some(moment) = Moment::of(turn) else {
//!             // Somebody asks what the member knows.
//!             return Ok(Reply::text(self.heard.as_deref().unwrap_or("nothing")));
//!         };
//!         if self.heard.is_none() {
//!             let mut texts = moment.mail.iter().map(|mail| mail.text().into_owned());
//!             self.heard = texts.find(|text| !text.is_empty());
//!             if let Some(text) = &self.heard {
//!                 for neighbour in host.world(&moment).neighbours(moment.member)? {
//!                     host.peers().send_text(&moment.address(neighbour), text)?;
//!                 }
//!             }
//!         }
//!         host.metrics().sample("heard", f64::from(self.heard.is_some()))?;
//!         Ok(Reply::empty())
//!     }
//! }
//!
//! export_agent!(Gossip, portable);
//!
//! // A test, which usually stands in a module of its own.
//! # use dormouse_sdk::testing::MockHost;
//! let mut mock = MockHost::new().with_neighbours(17, [3, 18]);
//! let mut gossip = Gossip::default();
//! let moment = Moment::new("people", 17).with_mail("people/3", [Part::text("It rains")]);
//! mock.tick(&mut gossip, &moment).unwrap();
//! assert_eq!(mock.sent_mail()[1].to, "people/18");
//! assert_eq!(mock.samples()[0].value, 1.0);
//! assert_eq!(mock.turn(&mut gossip, "What do you know?").unwrap(), Reply::text("It rains"));
//! ```

pub(crate) mod base64;
mod moment;
mod wire;

pub use crate::population::{Column, Member, ViewError};
pub use moment::{DueTimer, Effect, Mail, Moment, WORLD};

use crate::{Host, population::View};

/// A world as a member of it sees it: as it was at the end of the last tick. From [`Host::world`].
#[derive(Clone, Copy, Debug)]
pub struct WorldView<'a> {
    host: &'a Host,
    /// The names of the roles of the world.
    roles: &'a [String],
}

impl<'a> WorldView<'a> {
    pub(crate) fn new(host: &'a Host, moment: &'a Moment) -> Self {
        WorldView { host, roles: &moment.roles }
    }

    /// Who stands next to a member of the own role.
    ///
    /// # Errors
    ///
    /// [`ViewError::Gone`]: there is no such member.
    pub fn neighbours(&self, of: Member) -> Result<Vec<Member>, ViewError> {
        let (_, neighbours) = self.host.backend().neighbours(&[of])?;
        Ok(neighbours)
    }

    /// Which members of this role are within a radius of where a member of the own role is, by number and without that member
    /// itself. The specification of the world says what its `space` is. A radius that is less than 0, or no number, fails the turn.
    ///
    /// # Errors
    ///
    /// [`ViewError`]: there is no such role or member, or the world has no space.
    pub fn near(&self, role: &str, of: Member, radius: f64) -> Result<Vec<Member>, ViewError> {
        let role = self.number_of(role)?;
        let (_, near) = self.host.backend().near(role, &[of], radius)?;
        Ok(near)
    }

    /// How many members of this role there are or were: the number that the next one is given.
    ///
    /// # Errors
    ///
    /// [`ViewError::Unknown`]: the world has no such role.
    pub fn size(&self, role: &str) -> Result<u32, ViewError> {
        self.host.backend().size(self.number_of(role)?)
    }

    /// What these members of a role have published under the name of a column. The specification of the world lists the columns
    /// that an agent reads.
    ///
    /// # Errors
    ///
    /// [`ViewError`]: there is no such role, column or member.
    pub fn read(&self, role: &str, column: &str, of: &[Member]) -> Result<Column, ViewError> {
        self.host.backend().read(self.number_of(role)?, column, of)
    }

    /// What an aggregate of the world was. The specification of the world lists the aggregates that an agent reads.
    ///
    /// # Errors
    ///
    /// [`ViewError::Unknown`]: there is no such aggregate, or it has no value.
    pub fn aggregate(&self, name: &str) -> Result<f64, ViewError> {
        self.host.backend().aggregate(name)
    }

    /// The number of the role of this name.
    fn number_of(&self, role: &str) -> Result<u32, ViewError> {
        let place = (0..).zip(self.roles).find(|(_, own)| *own == role);
        place.map(|(place, _)| place).ok_or_else(|| {
            let roles = self.roles.join(", ");
            ViewError::Unknown(format!("the world has no role `{role}`, but {roles}"))
        })
    }
}

#[cfg(test)]
mod tests;
