//! What arms do: differences between pairs of worlds that have the same seed, with the interval in which the mean of many would be.

use super::results::{ArmRun, Results};

/// One number, in all arms.
pub(super) struct Comparison {
    pub(super) name: String,
    pub(super) arms: Vec<ArmEffect>,
}

/// One number in one arm.
pub(super) struct ArmEffect {
    pub(super) arm: String,
    /// The mean over all replicates. `None`: it has no value in some.
    pub(super) mean: Option<f64>,
    /// How much more it is than in the first arm. `None` for the first.
    pub(super) effect: Option<Effect>,
}

/// A mean of differences, and how far the mean of many may be from it: with 95 % confidence, by Student's t.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Effect {
    pub(super) mean: f64,
    /// `None`: there is one replicate only.
    pub(super) half_width: Option<f64>,
}

impl Comparison {
    pub(super) fn of(
        name: &str,
        arms: &[&str],
        results: &Results,
        value: impl Fn(&ArmRun) -> Option<f64>,
    ) -> Comparison {
        let of_arm = |arm: &str| -> Option<Vec<f64>> {
            results.runs.iter().filter(|run| run.arm == arm).map(&value).collect()
        };
        let first = arms.first().and_then(|first| of_arm(first));
        let effect = |place: usize, own: &Option<Vec<f64>>| {
            let (own, first) = (own.as_ref()?, first.as_ref()?);
            let differences = own.iter().zip(first).map(|(own, first)| own - first);
            (place > 0).then(|| Effect::of(&differences.collect::<Vec<_>>()))
        };
        let arms = arms.iter().enumerate().map(|(place, arm)| {
            let own = of_arm(arm);
            let mean = own.as_ref().map(|own| own.iter().sum::<f64>() / own.len() as f64);
            ArmEffect { arm: (*arm).to_owned(), mean, effect: effect(place, &own) }
        });
        Comparison { name: name.to_owned(), arms: arms.collect() }
    }
}

impl Effect {
    fn of(differences: &[f64]) -> Effect {
        let count = differences.len() as f64;
        let mean = differences.iter().sum::<f64>() / count;
        let squares = differences.iter().map(|own| (own - mean) * (own - mean)).sum::<f64>();
        let half_width = (differences.len() > 1)
            .then(|| student(differences.len() - 1) * (squares / (count - 1.0) / count).sqrt());
        Effect { mean, half_width }
    }
}

/// The quantile 0.975 of Student's t, from 1 degree of freedom on.
const STUDENT: [f64; 30] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
    2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
    2.052, 2.048, 2.045, 2.042,
];

/// The same for so many degrees of freedom. Beyond the table by the first two terms of its series, which is right to
/// a thousandth.
fn student(freedom: usize) -> f64 {
    let normal = 1.959_964;
    let (z3, freedom_of) = (normal * normal * normal, freedom as f64);
    let second = || {
        (5.0 * z3 * normal * normal + 16.0 * z3 + 3.0 * normal) / (96.0 * freedom_of * freedom_of)
    };
    let beyond = || normal + (z3 + normal) / (4.0 * freedom_of) + second();
    STUDENT.get(freedom.max(1) - 1).copied().unwrap_or_else(beyond)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_effect_has_the_interval_of_students_t() {
        let effect = Effect::of(&[1.0, 2.0, 3.0, 4.0]);
        assert_eq!(effect.mean, 2.5);
        // 3.182 × √(5/3 / 4)
        assert!((effect.half_width.unwrap() - 2.054).abs() < 1e-3, "{effect:?}");
        assert_eq!(Effect::of(&[1.0]), Effect { mean: 1.0, half_width: None });
        for (freedom, known) in [(40, 2.0211), (60, 2.0003), (120, 1.9799), (1_000, 1.9623)] {
            assert!((student(freedom) - known).abs() < 1.1e-3, "{freedom}");
        }
    }
}
