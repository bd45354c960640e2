//! What the rows of a population see of their world.

use dormouse_domain::simulation::{Column, ColumnSlice, Member, Role};

/// A world as it was at the end of the last tick. Many instances look at it at once.
pub trait View: Send + Sync {
    /// The number that the next member of this role is given.
    ///
    /// # Errors
    /// There is no such role.
    fn size(&self, role: Role) -> Result<u32, ViewError>;

    /// Who stands next to this member of the role whose rows look.
    ///
    /// # Errors
    /// There is no such member.
    fn neighbours(&self, of: Member) -> Result<&[Member], ViewError>;

    /// The work of [`View::near`]: how many members it looks at, and how often it looks elsewhere.
    ///
    /// # Errors
    /// As there.
    fn work_of_near(&self, role: Role, of: Member, radius: f64) -> Result<u64, ViewError>;

    /// Put the members of this role behind those that were found which are within a radius of a member of the role whose rows look,
    /// by number and without that member itself. The list grows to one more than `most`, and no longer.
    ///
    /// # Errors
    /// There is no such role, or one of both roles is in no space, or the member is nowhere.
    fn near(
        &self,
        role: Role,
        of: Member,
        radius: f64,
        most: usize,
        found: &mut Vec<Member>,
    ) -> Result<(), ViewError>;

    /// What all members of this role have published under this name, by number.
    ///
    /// # Errors
    /// There is no such role or column.
    fn column(&self, role: Role, name: &str) -> Result<ColumnSlice<'_>, ViewError>;

    /// What an aggregate was.
    ///
    /// # Errors
    /// There is no such aggregate.
    fn aggregate(&self, name: &str) -> Result<f64, ViewError>;
}

/// Why a view has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ViewError {
    /// There is no role, column or aggregate of that name. Says which there are.
    Unknown(String),
    /// There is no such member, or no longer.
    Gone(Member),
}

/// What these members of a role have published.
///
/// # Errors
/// As [`View::column`], and where one of them is not there.
pub(super) fn read(
    view: &dyn View,
    role: Role,
    name: &str,
    of: &[Member],
) -> Result<Column, ViewError> {
    fn pick<T: Copy>(values: &[T], of: &[Member]) -> Result<Vec<T>, ViewError> {
        let one =
            |member: &Member| values.get(*member as usize).copied().ok_or(ViewError::Gone(*member));
        of.iter().map(one).collect()
    }
    Ok(match view.column(role, name)? {
        ColumnSlice::Integers(values) => Column::Integers(pick(values, of)?),
        ColumnSlice::Numbers(values) => Column::Numbers(pick(values, of)?),
        ColumnSlice::Bytes(values) => Column::Bytes(pick(values, of)?),
    })
}
