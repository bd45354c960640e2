//! Names that were probably meant to be others: fields of requests, settings of the program.
//!
//! A near miss is refused, and never ignored: a limit whose name is misspelt would be no limit.

/// Longer names are nobody's near miss; comparing them would cost more than it tells.
const MAX_LENGTH: usize = 64;
/// From this many letters on, names that differ by [`MAX_EDITS`] are near.
const MIN_LETTERS: usize = 5;
const MAX_EDITS: usize = 2;

/// The known name that this unknown one is a near miss of: equal to it without case, `_` and `-`, or at
/// most two edits away from it in five letters or more. The nearest, where there are several.
pub fn near_miss<'a>(unknown: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if unknown.len() > MAX_LENGTH {
        return None;
    }
    let unknown = plain(unknown);
    let letters = unknown.chars().count();
    let edits = if letters >= MIN_LETTERS { MAX_EDITS } else { 0 };
    // A request may have thousands of names: those of another length are not compared.
    let alike = known.into_iter().filter(|known| counted(known).count().abs_diff(letters) <= edits);
    let distances = alike.map(|known| {
        let letters = plain(known);
        let equal = letters == unknown;
        let distance = if equal { 0 } else { strsim::osa_distance(&letters, &unknown) };
        (distance, known)
    });
    let (distance, nearest) = distances.min_by_key(|(distance, _)| *distance)?;
    (distance <= edits).then_some(nearest)
}

fn plain(name: &str) -> String {
    counted(name).flat_map(char::to_lowercase).collect()
}

/// The letters of a name that count.
fn counted(name: &str) -> impl Iterator<Item = char> {
    name.chars().filter(|letter| !matches!(letter, '_' | '-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 5] = ["maxTurns", "maxBudgetUsd", "agent", "tags", "max-residents"];

    #[test]
    fn case_underscores_and_dashes_make_no_other_name() {
        for (unknown, meant) in [
            ("max_turns", "maxTurns"),
            ("MAXTURNS", "maxTurns"),
            ("maxBudgetUSD", "maxBudgetUsd"),
            ("Tags", "tags"),
            ("max_residents", "max-residents"),
        ] {
            assert_eq!(near_miss(unknown, KNOWN), Some(meant), "{unknown}");
        }
    }

    #[test]
    fn the_nearest_of_several_is_meant() {
        assert_eq!(near_miss("max_turnss", ["maxTurn", "maxTurns", "maxTurnsX"]), Some("maxTurns"));
        assert_eq!(near_miss("m-a-x-t-u-r-n-s", ["maxTurn", "maxTurns"]), Some("maxTurns"));
    }

    #[test]
    fn two_edits_in_five_letters_are_near_and_three_are_not() {
        for (unknown, meant) in [
            ("maxTurnz", Some("maxTurns")),
            ("maxTruns", Some("maxTurns")),
            ("mxTurn", Some("maxTurns")),
            ("mxTrn", None),
            ("maxBudget", None),
            ("agents", Some("agent")),
            ("tag", None),
            ("", None),
            ("model", None),
        ] {
            assert_eq!(near_miss(unknown, KNOWN), meant, "{unknown}");
        }
        assert_eq!(near_miss(&"x".repeat(1 << 20), KNOWN), None);
        assert_eq!(near_miss("maxTurnz", []), None);
    }
}
