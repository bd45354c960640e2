//! Who stands next to whom: made once, as one list of neighbours for all members (compressed sparse rows).

use crate::chance::{Chance, Stream};
use crate::spec::TopologySpec;
use dormouse_domain::simulation::{Member, Role};

/// The neighbours of all members of a role.
#[derive(Debug, Default)]
pub(crate) struct Topology {
    /// Where the neighbours of each member begin, and after the last, where they end. Empty: nobody has any.
    offsets: Vec<u32>,
    neighbours: Vec<Member>,
}

impl Topology {
    /// The topology of this many members.
    pub(crate) fn of(spec: &TopologySpec, count: u32, role: Role, chance: &Chance) -> Topology {
        let mut stream = chance.stream(role, "topology");
        let pairs = match spec {
            TopologySpec::None => return Topology::default(),
            TopologySpec::Ring => grid(count, count),
            TopologySpec::Grid { width } => grid(*width, count),
            TopologySpec::Star => (1..count).map(|member| (0, member)).collect(),
            TopologySpec::Random { p } => random(count, *p, &mut stream),
            TopologySpec::SmallWorld { k, p } => small_world(count, *k, *p, &mut stream),
            TopologySpec::ScaleFree { m } => scale_free(count, *m, &mut stream),
            TopologySpec::Edges { edges, from: _ } => edges.clone(),
        };
        Topology::of_pairs(count, &pairs)
    }

    /// Each pair once, both ways. A member that is tied to itself has itself as its neighbour, once.
    fn of_pairs(count: u32, pairs: &[(Member, Member)]) -> Topology {
        let mut offsets = vec![0_u32; count as usize + 1];
        for (a, b) in pairs {
            offsets[*a as usize + 1] += 1;
            if a != b {
                offsets[*b as usize + 1] += 1;
            }
        }
        for place in 1..offsets.len() {
            offsets[place] += offsets[place - 1];
        }
        let mut next = offsets.clone();
        let mut neighbours = vec![0; offsets[count as usize] as usize];
        let mut tie = |of: Member, to: Member| {
            let place = &mut next[of as usize];
            neighbours[*place as usize] = to;
            *place += 1;
        };
        for (a, b) in pairs {
            tie(*a, *b);
            if a != b {
                tie(*b, *a);
            }
        }
        Topology { offsets, neighbours }
    }

    /// What it takes, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        let all = size_of_val(self.offsets.as_slice()) + size_of_val(self.neighbours.as_slice());
        all as u64
    }

    /// Who stands next to this member. One that was born stands next to nobody.
    pub(crate) fn neighbours(&self, of: Member) -> &[Member] {
        let of = of as usize;
        match self.offsets.get(of..of + 2) {
            Some(&[from, to]) => &self.neighbours[from as usize..to as usize],
            Some(_) | None => &[],
        }
    }
}

/// Lines of this width, whose borders meet: a ring is one line. Lines and columns of two have each tie once.
fn grid(width: u32, count: u32) -> Vec<(Member, Member)> {
    let height = count / width;
    let mut pairs = Vec::with_capacity(count as usize * 2);
    for member in 0..count {
        let (line, column) = (member / width, member % width);
        if width > 2 || column + 1 < width {
            pairs.push((member, line * width + (column + 1) % width));
        }
        if height > 2 || line + 1 < height {
            pairs.push((member, (line + 1) % height * width + column));
        }
    }
    pairs.retain(|(a, b)| a != b);
    pairs
}

/// Each pair by chance. The pairs that are not there are skipped at once, so the work is in those that are.
fn random(count: u32, p: f64, stream: &mut Stream) -> Vec<(Member, Member)> {
    let mut pairs = Vec::new();
    if p <= 0.0 {
        return pairs;
    }
    let all = u64::from(count) * (u64::from(count) - 1) / 2;
    let mut place = stream.skipped(p);
    let (mut low, mut before) = (0_u64, 0_u64);
    let mut in_line = u64::from(count) - 1;
    while place < all {
        // The pairs of a member with those after it stand one after another.
        while place - before >= in_line {
            before += in_line;
            low += 1;
            in_line -= 1;
        }
        pairs.push((low as u32, (low + 1 + place - before) as u32));
        place = place.saturating_add(1).saturating_add(stream.skipped(p));
    }
    pairs
}

fn small_world(count: u32, k: u32, p: f64, stream: &mut Stream) -> Vec<(Member, Member)> {
    let mut tied = std::collections::HashSet::new();
    let tie = |a: u32, b: u32| (a.min(b), a.max(b));
    let mut pairs = Vec::with_capacity(count as usize * k as usize / 2);
    for distance in 1..=k / 2 {
        for member in 0..count {
            let pair = (member, (member + distance) % count);
            tied.insert(tie(pair.0, pair.1));
            pairs.push(pair);
        }
    }
    for pair in &mut pairs {
        if !stream.chance(p) {
            continue;
        }
        // Where somebody stands next to nearly all there may be no place: the tie stays then.
        for _ in 0..100 {
            let other = stream.below(u64::from(count)) as u32;
            if other != pair.0 && tied.insert(tie(pair.0, other)) {
                tied.remove(&tie(pair.0, pair.1));
                pair.1 = other;
                break;
            }
        }
    }
    pairs
}

fn scale_free(count: u32, m: u32, stream: &mut Stream) -> Vec<(Member, Member)> {
    // Each end of each tie stands here once: to draw one draws a member by its number of ties.
    let mut ends: Vec<Member> = Vec::with_capacity(count as usize * m as usize * 2);
    let mut pairs = Vec::with_capacity(count as usize * m as usize);
    // For whom each member was chosen last: nobody is chosen twice for the same one.
    let mut chosen_for: Vec<Member> = vec![Member::MAX; count as usize];
    for member in m..count {
        let mut chosen: Vec<Member> = Vec::with_capacity(m as usize);
        while chosen.len() < m as usize {
            let other = match ends.len() {
                // The first one finds as many members as it needs ties.
                0 => chosen.len() as u32,
                all => ends[stream.below(all as u64) as usize],
            };
            if std::mem::replace(&mut chosen_for[other as usize], member) != member {
                chosen.push(other);
            }
        }
        for other in chosen {
            pairs.push((member, other));
            ends.extend([member, other]);
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(spec: &TopologySpec, count: u32) -> Topology {
        Topology::of(spec, count, 0, &Chance::of_seed(1))
    }

    fn degrees(topology: &Topology, count: u32) -> Vec<usize> {
        (0..count).map(|member| topology.neighbours(member).len()).collect()
    }

    #[test]
    fn each_tie_leads_both_ways() {
        let specs = [
            TopologySpec::Ring,
            TopologySpec::Grid { width: 10 },
            TopologySpec::Star,
            TopologySpec::Random { p: 0.1 },
            TopologySpec::SmallWorld { k: 4, p: 0.3 },
            TopologySpec::ScaleFree { m: 3 },
        ];
        for spec in specs {
            let topology = made(&spec, 100);
            for member in 0..100 {
                for other in topology.neighbours(member) {
                    assert!(topology.neighbours(*other).contains(&member), "{spec:?}");
                    assert_ne!(*other, member, "{spec:?}");
                }
            }
        }
    }

    #[test]
    fn regular_ones_have_as_many_neighbours_as_they_should() {
        assert_eq!(degrees(&made(&TopologySpec::Ring, 5), 5), [2; 5]);
        assert_eq!(degrees(&made(&TopologySpec::Grid { width: 4 }, 16), 16), [4; 16]);
        assert_eq!(degrees(&made(&TopologySpec::Grid { width: 2 }, 4), 4), [2; 4]);
        assert_eq!(degrees(&made(&TopologySpec::SmallWorld { k: 4, p: 0.0 }, 9), 9), [4; 9]);
        assert_eq!(degrees(&made(&TopologySpec::Star, 4), 4), [3, 1, 1, 1]);
        assert_eq!(degrees(&made(&TopologySpec::None, 3), 3), [0; 3]);
    }

    #[test]
    fn a_random_graph_has_about_as_many_ties_as_it_should() {
        let ties: usize =
            degrees(&made(&TopologySpec::Random { p: 0.01 }, 2_000), 2_000).iter().sum();
        // 19,990 of 1,999,000 pairs, and a standard deviation of 141.
        assert!((19_000..21_000).contains(&(ties / 2)), "{}", ties / 2);
        let all: usize = degrees(&made(&TopologySpec::Random { p: 1.0 }, 20), 20).iter().sum();
        assert_eq!(all, 20 * 19);
    }
}
