//! What a row knows of its tick, and does in it.

use std::fmt;

use super::{
    Column, EffectKind, Member, Values,
    draw::{Blocks, Draws, Key},
};

/// The world as it was at the end of the last tick: the host, or what a test puts in its place.
pub trait View {
    /// The number that the next member of this role is given.
    ///
    /// # Errors
    ///
    /// There is no such role.
    fn size(&self, role: u32) -> Result<u32, ViewError>;

    /// Who stands next to these members of the own role: offsets and neighbours. Those of the i-th stand from `offsets[i]`
    /// up to, and without, `offsets[i + 1]`.
    ///
    /// # Errors
    ///
    /// There is no such member.
    fn neighbours(&self, of: &[Member]) -> Result<(Vec<u32>, Vec<Member>), ViewError>;

    /// Which members of a role are within this radius of where these members of the own role are: offsets and members, each
    /// list by number and without the member itself.
    ///
    /// # Errors
    ///
    /// There is no such role or member, or the world has no space.
    fn near(
        &self,
        role: u32,
        of: &[Member],
        radius: f64,
    ) -> Result<(Vec<u32>, Vec<Member>), ViewError>;

    /// What these members of a role have published.
    ///
    /// # Errors
    ///
    /// There is no such role, column or member.
    fn read(&self, role: u32, column: &str, of: &[Member]) -> Result<Column, ViewError>;

    /// What an aggregate of the world was.
    ///
    /// # Errors
    ///
    /// There is no such aggregate.
    fn aggregate(&self, name: &str) -> Result<f64, ViewError>;
}

/// Why a view has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ViewError {
    /// The world has no such role, column or aggregate. The text says which there are.
    Unknown(String),
    /// There is no such member, or no longer.
    Gone(Member),
}

impl fmt::Display for ViewError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ViewError::Unknown(what) => f.write_str(what),
            ViewError::Gone(member) => write!(f, "there is no member {member}"),
        }
    }
}

impl std::error::Error for ViewError {}

/// To whom something is done. A number alone is that of a member of the own role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct To {
    role: Option<u32>,
    member: Member,
}

impl To {
    /// A member of any role.
    #[must_use]
    pub fn member_of(role: u32, member: Member) -> To {
        To { role: Some(role), member }
    }
}

impl From<Member> for To {
    #[inline]
    fn from(member: Member) -> To {
        To { role: None, member }
    }
}

/// The value of an effect or an attribute.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// It has none.
    None,
    /// An integer.
    Integer(i64),
    /// A number.
    Number(f64),
}

impl From<()> for Value {
    #[inline]
    fn from((): ()) -> Value {
        Value::None
    }
}

impl From<i64> for Value {
    #[inline]
    fn from(value: i64) -> Value {
        Value::Integer(value)
    }
}

impl From<f64> for Value {
    #[inline]
    fn from(value: f64) -> Value {
        Value::Number(value)
    }
}

/// Effects of one kind on members of one role.
#[derive(Default)]
pub(super) struct Sent {
    /// Whether an effect is more than its target.
    pub(super) form: Form,
    pub(super) from: Vec<Member>,
    pub(super) to: Vec<Member>,
    pub(super) integers: Vec<i64>,
    pub(super) numbers: Vec<f64>,
    pub(super) delay: Vec<u32>,
}

/// What has to be noted of each effect of a kind on members of a role.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Form {
    /// To whom it is done.
    Target,
    /// More than that.
    #[default]
    Whole,
    /// Nothing: it arrives at once.
    Immediate,
}

/// Members of one role that begin.
pub(super) struct Children {
    pub(super) role: u32,
    pub(super) parents: Vec<Member>,
    pub(super) attributes: Vec<(String, Column)>,
}

/// What is done at once, where the schedule says so.
pub(super) struct Immediate {
    pub(super) kind: usize,
    pub(super) from: Member,
    pub(super) to: Member,
    pub(super) value: Value,
}

/// One tick, as the row that acts knows it.
pub struct Tick<'t> {
    pub(super) at: u64,
    pub(super) role: u32,
    pub(super) roles: usize,
    /// How many members the role has or had.
    pub(super) size: u32,
    /// Whether what is done to rows of this population arrives at once.
    pub(super) is_immediate: bool,
    pub(super) kinds: &'static [EffectKind],
    pub(super) view: &'t dyn View,
    pub(super) blocks: Blocks,
    /// The row that acts, as a member,
    pub(super) member: Member,
    /// what it draws for, and how much it has drawn.
    pub(super) drawer: u32,
    pub(super) place: u32,
    /// By kind, and for each kind by role.
    pub(super) sent: Vec<Sent>,
    pub(super) now: Vec<Immediate>,
    pub(super) children: Vec<Children>,
    pub(super) ended: Vec<Member>,
    pub(super) wake: Vec<Member>,
    pub(super) wake_in: Vec<u32>,
}

impl Sent {
    /// For effects of this kind on members of a role, all of which arrive at once or not.
    fn of(kind: EffectKind, is_immediate: bool) -> Sent {
        let form = match (kind.values, kind.fold.names_senders()) {
            _ if is_immediate => Form::Immediate,
            (Values::None, false) => Form::Target,
            (Values::None | Values::Integers | Values::Numbers, _) => Form::Whole,
        };
        Sent { form, ..Sent::default() }
    }

    fn add(&mut self, kind: EffectKind, from: Member, to: Member, value: Value, ticks: u32) {
        match (kind.values, value) {
            (Values::None, Value::None) => {}
            (Values::Integers, Value::Integer(value)) => self.integers.push(value),
            (Values::Numbers, Value::Number(value)) => self.numbers.push(value),
            _ => panic!("effects of the kind `{}` have values of another type", kind.name),
        }
        if ticks != 1 || !self.delay.is_empty() {
            self.delay.resize(self.to.len(), 1);
            self.delay.push(ticks);
        }
        self.to.push(to);
        if kind.fold.names_senders() {
            self.from.push(from);
        }
    }
}

impl<'t> Tick<'t> {
    pub(super) fn new(
        (at, key): (u64, Key),
        (role, roles, size): (u32, usize, u32),
        is_immediate: bool,
        kinds: &'static [EffectKind],
        view: &'t dyn View,
    ) -> Tick<'t> {
        Tick {
            at,
            role,
            roles,
            size,
            is_immediate,
            kinds,
            view,
            blocks: Blocks::new(key),
            member: 0,
            drawer: 0,
            place: 0,
            sent: kinds
                .iter()
                .flat_map(|kind| {
                    (0..roles).map(|to| Sent::of(*kind, is_immediate && to == role as usize))
                })
                .collect(),
            now: Vec::new(),
            children: Vec::new(),
            ended: Vec::new(),
            wake: Vec::new(),
            wake_in: Vec::new(),
        }
    }

    /// The number of the tick, from 0.
    #[must_use]
    pub fn at(&self) -> u64 {
        self.at
    }

    /// The number of the row that acts, as a member of its role.
    #[inline]
    #[must_use]
    pub fn member(&self) -> Member {
        self.member
    }

    /// How many members the own role has or had: the number that the next one is given.
    #[inline]
    #[must_use]
    pub fn size(&self) -> u32 {
        self.size
    }

    /// The key of the random numbers of this tick, for whoever draws in another way: it is the same for all rows of the role.
    #[must_use]
    pub fn key(&self) -> Key {
        self.blocks.key
    }

    /// Random numbers of the row that acts: where a row asks again, those that follow.
    #[inline]
    pub fn draw(&mut self) -> Draws<'_> {
        Draws { blocks: &mut self.blocks, member: self.drawer, place: &mut self.place }
    }

    /// Does something to a member: it arrives with the next tick, or at once where the schedule says so. The kind is a place
    /// in [`Population::EFFECTS`](super::Population::EFFECTS), and the value is of its type: `()` where it has none.
    ///
    /// # Panics
    ///
    /// There is no such kind, or its values are of another type.
    #[inline]
    pub fn send(&mut self, kind: usize, to: impl Into<To>, value: impl Into<Value>) {
        self.send_in(1, kind, to, value);
    }

    /// The same so many ticks from now, and never at once where that is more than 1.
    ///
    /// # Panics
    ///
    /// As [`Tick::send`].
    #[inline]
    pub fn send_in(&mut self, ticks: u32, kind: usize, to: impl Into<To>, value: impl Into<Value>) {
        let (to, value) = (to.into(), value.into());
        let role = to.role.unwrap_or(self.role);
        let sent = &mut self.sent[kind * self.roles + role as usize];
        match sent.form {
            Form::Target if ticks == 1 && value == Value::None => sent.to.push(to.member),
            Form::Immediate if ticks <= 1 => {
                self.now.push(Immediate { kind, from: self.member, to: to.member, value });
            }
            Form::Target | Form::Whole | Form::Immediate => {
                sent.add(self.kinds[kind], self.member, to.member, value, ticks);
            }
        }
    }

    /// Lets a member begin, as the last of its role, with these attributes. All that begin in a role in the same tick have
    /// the same ones.
    ///
    /// # Panics
    ///
    /// The attributes are not those of the one before.
    pub fn bear(&mut self, role: u32, attributes: &[(&str, Value)]) {
        let place = self.children.iter().position(|children| children.role == role);
        let place = place.unwrap_or_else(|| {
            let attributes = attributes.iter().map(|(name, value)| {
                let values = match value {
                    Value::Number(_) => Column::Numbers(Vec::new()),
                    Value::Integer(_) | Value::None => Column::Integers(Vec::new()),
                };
                ((*name).to_owned(), values)
            });
            let attributes = attributes.collect();
            self.children.push(Children { role, parents: Vec::new(), attributes });
            self.children.len() - 1
        });
        let children = &mut self.children[place];
        assert_eq!(children.attributes.len(), attributes.len(), "other attributes than before");
        children.parents.push(self.member);
        for ((own, values), (name, value)) in children.attributes.iter_mut().zip(attributes) {
            match (values, value) {
                _ if own != name => panic!("`{name}` stands where `{own}` stood before"),
                (Column::Integers(values), Value::Integer(value)) => values.push(*value),
                (Column::Integers(values), Value::None) => values.push(0),
                (Column::Numbers(values), Value::Number(value)) => values.push(*value),
                _ => panic!("`{name}` has another type than before"),
            }
        }
    }

    /// Lets the row that acts end with this tick: it acts no more, and what is done to it is lost.
    pub fn end(&mut self) {
        self.ended.push(self.member);
    }

    /// Lets the row that acts act again in so many ticks, where rows act by events.
    pub fn wake_in(&mut self, ticks: u32) {
        self.wake.push(self.member);
        self.wake_in.push(ticks);
    }

    /// The number that the next member of this role is given.
    ///
    /// # Panics
    ///
    /// The world has no such role. So it is with all that a row looks at: what is not there fails the step, which names it.
    #[must_use]
    pub fn size_of(&self, role: u32) -> u32 {
        seen(self.view.size(role))
    }

    /// Who stands next to a member of the own role.
    ///
    /// # Panics
    ///
    /// There is no such member.
    #[must_use]
    pub fn neighbours(&self, of: Member) -> Vec<Member> {
        seen(self.view.neighbours(&[of])).1
    }

    /// Who stands next to these members of the own role: offsets and neighbours. Those of the i-th stand from `offsets[i]` up
    /// to, and without, `offsets[i + 1]`.
    ///
    /// # Panics
    ///
    /// There is no such member.
    #[must_use]
    pub fn neighbours_of(&self, of: &[Member]) -> (Vec<u32>, Vec<Member>) {
        seen(self.view.neighbours(of))
    }

    /// Who of the own role is within this radius of the row that acts, as all were at the end of the last tick: by number, and
    /// without the row itself. The world has a `space`.
    ///
    /// # Panics
    ///
    /// The world has no space, or the radius is less than 0.
    #[must_use]
    pub fn near(&self, radius: f64) -> Vec<Member> {
        seen(self.view.near(self.role, &[self.member], radius)).1
    }

    /// Who of any role is within this radius of these members of the own role: offsets and members. Those of the i-th stand from
    /// `offsets[i]` up to, and without, `offsets[i + 1]`. One call for many rows costs less than a call for each.
    ///
    /// # Panics
    ///
    /// There is no such role or member, or the world has no space, or the radius is less than 0.
    #[must_use]
    pub fn near_of(&self, role: u32, of: &[Member], radius: f64) -> (Vec<u32>, Vec<Member>) {
        seen(self.view.near(role, of, radius))
    }

    /// What these members of the own role have published: as it was at the end of the last tick.
    ///
    /// # Panics
    ///
    /// There is no such column or member.
    #[must_use]
    pub fn read(&self, column: &str, of: &[Member]) -> Column {
        seen(self.view.read(self.role, column, of))
    }

    /// What these members of any role have published: as it was at the end of the last tick.
    ///
    /// # Panics
    ///
    /// There is no such role, column or member.
    #[must_use]
    pub fn read_of(&self, role: u32, column: &str, of: &[Member]) -> Column {
        seen(self.view.read(role, column, of))
    }

    /// What an aggregate of the world was at the end of the last tick.
    ///
    /// # Panics
    ///
    /// There is no such aggregate.
    #[must_use]
    pub fn aggregate(&self, name: &str) -> f64 {
        seen(self.view.aggregate(name))
    }
}

impl fmt::Debug for Tick<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tick")
            .field("at", &self.at)
            .field("member", &self.member)
            .finish_non_exhaustive()
    }
}

fn seen<T>(answer: Result<T, ViewError>) -> T {
    match answer {
        Ok(answer) => answer,
        Err(error) => panic!("{error}"),
    }
}
