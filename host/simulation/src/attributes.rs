//! What each member has from its beginning.

use crate::chance::{Chance, Stream};
use crate::spec::{AttributeSpec, Distribution, MembersSpec};
use dormouse_domain::simulation::{Column, Named, Role};

/// The attributes of all members of a role, by name, whatever instances share them.
pub(crate) fn attributes(members: &MembersSpec, role: Role, chance: &Chance) -> Vec<Named> {
    let one = |(name, attribute): (&String, &AttributeSpec)| {
        let values = column(attribute, members.count as usize, || {
            chance.stream(role, &format!("attribute {name}"))
        });
        Named { name: name.clone(), values }
    };
    members.attributes.iter().map(one).collect()
}

fn column(attribute: &AttributeSpec, count: usize, stream: impl FnOnce() -> Stream) -> Column {
    let drawn = match attribute {
        AttributeSpec::Integer(value) => return Column::Integers(vec![*value; count]),
        AttributeSpec::Number(value) => return Column::Numbers(vec![*value; count]),
        AttributeSpec::Integers(values) => return Column::Integers(values.clone()),
        AttributeSpec::Numbers(values) => return Column::Numbers(values.clone()),
        AttributeSpec::Drawn(drawn) => drawn,
    };
    let mut stream = stream();
    let places = 0..count;
    match *drawn {
        Distribution::Uniform(from, to) => {
            Column::Numbers(places.map(|_| from + (to - from) * stream.unit()).collect())
        }
        Distribution::Integers(from, to) => {
            // The number of integers between any two is less than 2^64 + 1; all of them are drawn as they are.
            let span = to.abs_diff(from).checked_add(1);
            let draw = |stream: &mut Stream| match span {
                Some(span) => stream.below(span),
                None => stream.bits(),
            };
            Column::Integers(
                places.map(|_| from.wrapping_add_unsigned(draw(&mut stream))).collect(),
            )
        }
        Distribution::Normal(mean, deviation) => {
            Column::Numbers(places.map(|_| mean + deviation * stream.normal()).collect())
        }
        Distribution::Cauchy(median, scale) => {
            Column::Numbers(places.map(|_| median + scale * stream.cauchy()).collect())
        }
        Distribution::Chance(p) => {
            Column::Integers(places.map(|_| i64::from(stream.chance(p))).collect())
        }
        Distribution::Distinct(among) => {
            let mut values: Vec<i64> = (0..i64::from(among)).collect();
            for place in 0..count {
                let left = u64::from(among) - place as u64;
                values.swap(place, place + stream.below(left) as usize);
            }
            values.truncate(count);
            Column::Integers(values)
        }
        Distribution::Exactly(some) => {
            let mut values = vec![0; count];
            values[..some as usize].fill(1);
            for last in (1..count).rev() {
                values.swap(last, stream.below(last as u64 + 1) as usize);
            }
            Column::Integers(values)
        }
    }
}
