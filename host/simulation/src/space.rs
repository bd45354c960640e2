//! Who is near: the members of one role in a plane, in cells.
//!
//! It is made anew at the end of each tick, of what members have published, and answers the same whoever asks. A cell has
//! about two members. Distances are computed with sums, products and comparisons alone, so that they come out the same on any machine.

use crate::spec::SpaceSpec;
use dormouse_domain::simulation::{ColumnSlice, Member};

/// Members of a cell, about.
const PER_CELL: f64 = 2.0;
/// The most cells of a line, and the most lines: so that to count those around a place takes some microseconds at most.
const MAX_CELLS: f64 = 2_048.0;
/// What a radius is longer where cells are chosen: so much that no rounding leaves out a cell with somebody within the radius.
const SLACK: f64 = 1e-9;

/// The members of one role in a plane.
#[derive(Debug)]
pub(crate) struct Space {
    is_torus: bool,
    axes: [Axis; 2],
    /// Where each member is. Not a number: nowhere.
    places: Vec<[f64; 2]>,
    /// Line by line, where the members of each cell begin. One more for the end.
    starts: Vec<u32>,
    /// Cell by cell, those of each by number.
    members: Vec<Member>,
}

/// One direction of a plane.
#[derive(Clone, Copy, Debug)]
struct Axis {
    size: f64,
    /// How many cells there are,
    cells: u32,
    /// and how long each is.
    side: f64,
}

impl Axis {
    /// One with about so many cells.
    fn of(size: f64, wished: f64, most: f64) -> Axis {
        let cells = wished.floor().clamp(1.0, most.clamp(1.0, MAX_CELLS).floor());
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a few thousand"
        )]
        Axis { size, cells: cells as u32, side: size / cells }
    }

    /// This coordinate where the borders meet.
    fn wrapped(self, at: f64) -> f64 {
        let within = at - (at / self.size).floor() * self.size;
        // What is a little less than 0 may be rounded to the other border.
        if (0.0..self.size).contains(&within) { within } else { 0.0 }
    }

    /// The number of the cell of this coordinate, also of one that lies before the first or behind the last.
    fn cell(self, at: f64) -> f64 {
        (at / self.side).floor()
    }

    /// The cells from one number to the other: two runs at most, without any twice.
    fn runs(self, from: f64, to: f64, is_torus: bool) -> [std::ops::Range<u32>; 2] {
        let cells = f64::from(self.cells);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is clamped"
        )]
        let number = |cell: f64| cell.clamp(0.0, cells - 1.0) as u32;
        if !is_torus {
            return [number(from)..number(to) + 1, 0..0];
        }
        if to - from + 1.0 >= cells {
            return [0..self.cells, 0..0];
        }
        if from < 0.0 {
            return [0..number(to) + 1, number(from + cells)..self.cells];
        }
        if to >= cells {
            return [0..number(to - cells) + 1, number(from)..self.cells];
        }
        [number(from)..number(to) + 1, 0..0]
    }
}

impl Space {
    /// The members that have published these coordinates, without those that have ended.
    pub(crate) fn of(
        spec: &SpaceSpec,
        [x, y]: [ColumnSlice<'_>; 2],
        ended: Option<&[bool]>,
    ) -> Space {
        let count = x.len().min(y.len());
        let [width, height] = spec.size;
        let wished = (count as f64 / PER_CELL).max(1.0);
        // As many times more in the longer direction as that is longer.
        let of = |size: f64, other: f64| Axis::of(size, (wished * (size / other)).sqrt(), wished);
        let axes = [of(width, height), of(height, width)];
        let has_ended =
            |member: usize| ended.is_some_and(|ended| ended.get(member).copied().unwrap_or(false));
        let place = |member: usize| match (has_ended(member), spec.torus) {
            (true, _) => [f64::NAN; 2],
            (false, false) => [x.number(member), y.number(member)],
            (false, true) => [axes[0].wrapped(x.number(member)), axes[1].wrapped(y.number(member))],
        };
        let places: Vec<[f64; 2]> = (0..count).map(place).collect();
        let mut space = Space {
            is_torus: spec.torus,
            axes,
            places,
            starts: vec![0; axes[0].cells as usize * axes[1].cells as usize + 1],
            members: Vec::new(),
        };
        space.sort();
        space
    }

    /// Put members into their cells: how many each has, where it begins, and then one after the other.
    fn sort(&mut self) {
        let cells: Vec<Option<u32>> =
            self.places.iter().map(|place| self.cell_of(*place)).collect();
        for cell in cells.iter().flatten() {
            self.starts[*cell as usize + 1] += 1;
        }
        for cell in 1..self.starts.len() {
            self.starts[cell] += self.starts[cell - 1];
        }
        let mut next = self.starts.clone();
        self.members = vec![0; self.starts.last().map_or(0, |all| *all as usize)];
        for (member, cell) in (0..).zip(cells) {
            if let Some(cell) = cell {
                self.members[next[cell as usize] as usize] = member;
                next[cell as usize] += 1;
            }
        }
    }

    fn cell_of(&self, place: [f64; 2]) -> Option<u32> {
        if place.iter().any(|at| at.is_nan()) {
            return None;
        }
        let cell = |direction: usize| {
            let (axis, at) = (self.axes[direction], place[direction]);
            axis.runs(axis.cell(at), axis.cell(at), false)[0].start
        };
        Some(cell(1) * self.axes[0].cells + cell(0))
    }

    /// What it takes at most to make one of so many members, in bytes: their places and numbers, the cell of each, and twice where
    /// cells begin, of which there are at most half as many as members.
    pub(crate) fn weight(members: u32) -> u64 {
        let of_member = size_of::<[f64; 2]>() + size_of::<Member>() + size_of::<Option<u32>>();
        let starts = 2 * size_of::<u32>() as u64 * (u64::from(members) / 2 + 2);
        of_member as u64 * u64::from(members) + starts
    }

    /// What it takes, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        let places = size_of_val(self.places.as_slice());
        let cells = size_of_val(self.starts.as_slice()) + size_of_val(self.members.as_slice());
        (places + cells) as u64
    }

    /// Where this member is. `None`: it is nowhere.
    pub(crate) fn place(&self, of: Member) -> Option<[f64; 2]> {
        let place = self.places.get(of as usize)?;
        (!place.iter().any(|at| at.is_nan())).then_some(*place)
    }

    /// The work of looking for those within this radius of a place: how many members are looked at, and how many runs of cells.
    pub(crate) fn around(&self, place: [f64; 2], radius: f64) -> u64 {
        self.lines(place, radius).map(|cells| 1 + cells.len() as u64).sum()
    }

    /// Put the members within this radius of a place behind those that were found: by number, and without one of them. The list grows
    /// to one more than `most`, and no longer.
    pub(crate) fn near(
        &self,
        place: [f64; 2],
        radius: f64,
        without: Option<Member>,
        most: usize,
        found: &mut Vec<Member>,
    ) {
        let before = found.len();
        for cells in self.lines(place, radius) {
            let room = (most + 1).saturating_sub(found.len());
            let near = self.members[cells].iter().filter(|member| {
                if Some(**member) == without {
                    return false;
                }
                let other = self.places[**member as usize];
                let [x, y] = [0, 1].map(|direction: usize| {
                    let apart = (place[direction] - other[direction]).abs();
                    let size = self.axes[direction].size;
                    if self.is_torus && apart > size / 2.0 { size - apart } else { apart }
                });
                x * x + y * y <= radius * radius
            });
            found.extend(near.take(room));
        }
        found[before..].sort_unstable();
    }

    /// The members of the cells around a place, a run for each line of cells.
    fn lines(
        &self,
        place: [f64; 2],
        radius: f64,
    ) -> impl Iterator<Item = std::ops::Range<usize>> + '_ {
        let place = if self.is_torus {
            [self.axes[0].wrapped(place[0]), self.axes[1].wrapped(place[1])]
        } else {
            place
        };
        let runs = |direction: usize| {
            let (axis, at) = (self.axes[direction], place[direction]);
            let reach = radius + (radius + at.abs() + axis.size) * SLACK;
            axis.runs(axis.cell(at - reach), axis.cell(at + reach), self.is_torus)
        };
        let (columns, lines) = (runs(0), runs(1));
        lines.into_iter().flatten().flat_map(move |line| {
            columns.clone().into_iter().filter(|columns| !columns.is_empty()).map(move |columns| {
                let first = line * self.axes[0].cells;
                let start = |column: u32| self.starts[(first + column) as usize] as usize;
                start(columns.start)..start(columns.end)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// All members within the radius, one by one.
    fn one_by_one(spec: &SpaceSpec, places: &[[f64; 2]], of: [f64; 2], radius: f64) -> Vec<Member> {
        let apart = |one: f64, other: f64, size: f64| {
            if !spec.torus {
                return (one - other).abs();
            }
            let axis = Axis::of(size, 1.0, 1.0);
            let apart = (axis.wrapped(one) - axis.wrapped(other)).abs();
            if apart > size / 2.0 { size - apart } else { apart }
        };
        let is_near = |(_, at): &(Member, &[f64; 2])| {
            let x = apart(of[0], at[0], spec.size[0]);
            let y = apart(of[1], at[1], spec.size[1]);
            x * x + y * y <= radius * radius
        };
        (0..).zip(places).filter(is_near).map(|(member, _)| member).collect()
    }

    fn space_of(spec: &SpaceSpec, places: &[[f64; 2]], ended: Option<&[bool]>) -> Space {
        let column = |direction: usize| places.iter().map(|at| at[direction]).collect::<Vec<_>>();
        let (x, y) = (column(0), column(1));
        Space::of(spec, [ColumnSlice::Numbers(&x), ColumnSlice::Numbers(&y)], ended)
    }

    proptest! {
        #[test]
        fn those_are_found_who_are_near(
            size in [0.01..100.0_f64, 0.01..100.0_f64],
            torus: bool,
            places in prop::collection::vec([-0.3..1.3_f64, -0.3..1.3_f64], 1..200),
            of in [-0.5..1.5_f64, -0.5..1.5_f64],
            part in prop_oneof![Just(0.0), 0.0..0.2_f64, 0.2..3.0_f64],
            whole: bool,
        ) {
            let spec = SpaceSpec { size, torus, columns: ["x".to_owned(), "y".to_owned()] };
            // Whole numbers lie on the borders of cells.
            let scaled = |at: [f64; 2]| {
                let at = [at[0] * size[0], at[1] * size[1]];
                if whole { at.map(f64::round) } else { at }
            };
            let places: Vec<_> = places.into_iter().map(scaled).collect();
            let radius = part * size[0].max(size[1]);
            let (radius, of) = (if whole { radius.round() } else { radius }, scaled(of));
            let space = space_of(&spec, &places, None);
            let mut found = Vec::new();
            let of_space = if torus { [space.axes[0].wrapped(of[0]), space.axes[1].wrapped(of[1])] } else { of };
            space.near(of_space, radius, None, usize::MAX - 1, &mut found);
            let all = one_by_one(&spec, &places, of, radius);
            prop_assert_eq!(&found, &all);
            prop_assert!(space.around(of_space, radius) >= found.len() as u64);
            // Behind one that was found before, without the first, and no more than may be.
            let (first, most) = (all.first().copied(), all.len() / 2);
            let mut found = vec![7];
            space.near(of_space, radius, first, most, &mut found);
            prop_assert_eq!(found.len(), all.len().clamp(1, most + 1));
            prop_assert!(found[1..].iter().all(|member| all[1..].contains(member)));
            prop_assert!(space.bytes() <= Space::weight(places.len() as u32));
        }
    }

    #[test]
    fn whoever_has_ended_is_nowhere() {
        let spec =
            SpaceSpec { size: [10.0; 2], torus: true, columns: ["x".to_owned(), "y".to_owned()] };
        let places = [[1.0, 1.0], [1.5, 1.0], [9.9, 1.0]];
        let space = space_of(&spec, &places, Some(&[false, true, false]));
        let mut found = Vec::new();
        space.near([0.2, 1.0], 1.0, None, 9, &mut found);
        assert_eq!(found, [0, 2]);
        space.near([0.2, 1.0], 1.0, Some(2), 9, &mut found);
        assert_eq!(found, [0, 2, 0]);
        assert_eq!((space.place(1), space.place(3)), (None, None));
        assert_eq!(space.place(2), Some([9.9, 1.0]));
    }

    #[test]
    fn a_plane_of_any_form_has_few_cells() {
        for size in [[1e12, 1e-12], [1e-12, 1e-12], [1e12, 1e12], [1.0, 1.0], [3.0, 7.0]] {
            let spec = SpaceSpec { size, torus: true, columns: ["x".to_owned(), "y".to_owned()] };
            let places: Vec<_> = (0..1_000).map(|at| [f64::from(at) * 0.001, 0.0]).collect();
            let space = space_of(&spec, &places, None);
            assert!(space.starts.len() <= 501, "{size:?} has {} cells", space.starts.len());
            let mut found = Vec::new();
            let place = space.place(7).expect("it is there");
            space.near(place, size[0] * 2.0, None, 1_000, &mut found);
            assert_eq!(found.len(), 1_000, "{size:?}");
        }
    }
}
