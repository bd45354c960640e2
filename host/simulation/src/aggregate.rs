//! Numbers about all members of a role.
//!
//! Members are taken in the order of their numbers, so that a sum of floating-point numbers is the same on any number of
//! cores. Members that have ended do not count.

use crate::spec::Statistic;
use dormouse_domain::simulation::ColumnSlice;

/// Up to how many different integers they are counted instead of sorted.
const COUNTED: u64 = 1 << 16;

/// This statistic of the values of all members that have not ended. `None`: there are none, or it is no number.
pub(crate) fn statistic(
    is: Statistic,
    values: ColumnSlice<'_>,
    ended: Option<&[bool]>,
) -> Option<f64> {
    let living = || {
        let is_living = move |place: &usize| ended.is_none_or(|ended| !ended[*place]);
        (0..values.len()).filter(is_living).map(|place| values.number(place))
    };
    let count = ended.map_or(values.len(), |ended| ended.iter().filter(|ended| !**ended).count());
    if count == 0 {
        return None;
    }
    let value = match is {
        Statistic::Sum => living().sum(),
        Statistic::Mean => living().sum::<f64>() / count as f64,
        Statistic::Min => living().min_by(f64::total_cmp)?,
        Statistic::Max => living().max_by(f64::total_cmp)?,
        Statistic::Share(value) => {
            living().filter(|own| *own == value).count() as f64 / count as f64
        }
        Statistic::Gini => match (values, ended) {
            (ColumnSlice::Integers(values), None) => gini_of_integers(values),
            _ => gini(&ascending(living())),
        },
        Statistic::Quantile(q) => {
            let sorted = ascending(living());
            let place = (q * (count - 1) as f64).round() as usize;
            sorted[place.min(count - 1)]
        }
    };
    // Infinities of both signs, for example. What bits such a number has depends on the processor.
    (!value.is_nan()).then_some(value)
}

fn ascending(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted
}

/// Of sorted values. 0 where all have nothing.
fn gini(sorted: &[f64]) -> f64 {
    let weighted = sorted.iter().zip(1..).map(|(value, rank)| f64::from(rank) * value).sum();
    of_ranks(weighted, sorted.iter().sum(), sorted.len())
}

/// The same of integers. Where they are near each other they are counted, which is faster than to sort them.
fn gini_of_integers(values: &[i64]) -> f64 {
    let least = values.iter().copied().min().unwrap_or(0);
    let span = values.iter().copied().max().map_or(0, |most| most.abs_diff(least));
    if span >= COUNTED {
        return gini(&ascending(values.iter().map(|value| *value as f64)));
    }
    let mut counts = vec![0_u32; span as usize + 1];
    for value in values {
        counts[value.abs_diff(least) as usize] += 1;
    }
    let (mut weighted, mut sum, mut before) = (0.0, 0.0, 0.0);
    for (above, count) in (0..).zip(&counts) {
        let (value, count) = (least.wrapping_add(above) as f64, f64::from(*count));
        // The ranks of equal values are one after another.
        weighted += value * (count * before + count * (count + 1.0) / 2.0);
        sum += value * count;
        before += count;
    }
    of_ranks(weighted, sum, values.len())
}

fn of_ranks(weighted: f64, sum: f64, count: usize) -> f64 {
    if sum == 0.0 {
        return 0.0;
    }
    let count = count as f64;
    2.0 * weighted / (count * sum) - (count + 1.0) / count
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(is: Statistic, values: &[i64]) -> Option<f64> {
        statistic(is, ColumnSlice::Integers(values), None)
    }

    #[test]
    fn statistics_are_what_they_are_called() {
        let values = [4, 1, 3, 2];
        assert_eq!(of(Statistic::Mean, &values), Some(2.5));
        assert_eq!(of(Statistic::Sum, &values), Some(10.0));
        assert_eq!(of(Statistic::Min, &values), Some(1.0));
        assert_eq!(of(Statistic::Max, &values), Some(4.0));
        assert_eq!(of(Statistic::Quantile(0.0), &values), Some(1.0));
        assert_eq!(of(Statistic::Quantile(1.0), &values), Some(4.0));
        assert_eq!(of(Statistic::Share(3.0), &values), Some(0.25));
        assert_eq!(of(Statistic::Mean, &[]), None);
    }

    #[test]
    fn gini_is_the_same_whether_values_are_counted_or_sorted() {
        assert_eq!(of(Statistic::Gini, &[5, 5, 5, 5]), Some(0.0));
        assert_eq!(of(Statistic::Gini, &[0, 0, 0, 8]), Some(0.75));
        assert_eq!(of(Statistic::Gini, &[0, 0]), Some(0.0));
        for values in [vec![4, 1, 3, 2], vec![0, 0, 7, 1, 1], vec![-2, 5, 9]] {
            let counted = of(Statistic::Gini, &values).expect("some");
            let numbers: Vec<f64> = values.iter().map(|value| *value as f64).collect();
            let sorted =
                statistic(Statistic::Gini, ColumnSlice::Numbers(&numbers), None).expect("some");
            assert!((counted - sorted).abs() < 1e-12, "{values:?}: {counted} and {sorted}");
        }
    }

    #[test]
    fn those_who_have_ended_do_not_count() {
        let ended = [false, true, false];
        let mean = statistic(Statistic::Mean, ColumnSlice::Integers(&[1, 100, 3]), Some(&ended));
        assert_eq!(mean, Some(2.0));
    }
}
