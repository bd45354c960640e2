//! A tournament of strategies in the iterated dilemma of the prisoners.
//!
//! A row is the seat of one player in the match against another: of n players, the seat of player i against player j is the
//! row i·n + j. Its attribute `strategy` says how it plays: 0 always cooperates, 1 always defects, 2 does what the other did last
//! (tit for tat), 3 cooperates until it was defected on once. Each plays against a copy of itself, too. A round takes a tick, and its
//! points are known in the next. Both cooperate: 3 each; both defect: 1 each; one alone defects: 5 for it, 0 for the other.

use dormouse_sdk::population::*;

const COOPERATE: usize = 0;
const DEFECT: usize = 1;

struct Dilemma {
    players: u32,
    strategies: Vec<i64>,
    scores: Vec<i64>,
    /// Whether the seat has defected last, and whether the other seat has, ever and last.
    defected: Vec<bool>,
    was_betrayed: Vec<bool>,
    other_defected: Vec<bool>,
}

impl Population for Dilemma {
    const COLUMNS: &'static [&'static str] = &["score"];
    const EFFECTS: &'static [EffectKind] =
        &[EffectKind::counted("cooperate"), EffectKind::counted("defect")];

    fn new(setup: &Setup) -> Result<Self, Failure> {
        let players = setup.size.isqrt();
        if players * players != setup.size {
            return Err(Failure::invalid(
                "`count` is the square of the number of players: each has a seat against each",
            ));
        }
        let strategies = setup.integers("strategy", 0)?;
        if strategies.iter().any(|strategy| !(0..=3).contains(strategy)) {
            return Err(Failure::invalid("a `strategy` is 0 to 3"));
        }
        let all = |rows| vec![false; rows];
        let rows = setup.rows();
        Ok(Dilemma {
            players,
            strategies,
            scores: vec![0; rows],
            defected: all(rows),
            was_betrayed: all(rows),
            other_defected: all(rows),
        })
    }

    fn receive(&mut self, row: usize, arrival: Arrival) {
        let other_defects = arrival.kind == DEFECT;
        self.scores[row] += match (self.defected[row], other_defects) {
            (false, false) => 3,
            (true, true) => 1,
            (true, false) => 5,
            (false, true) => 0,
        };
        self.other_defected[row] = other_defects;
        self.was_betrayed[row] |= other_defects;
    }

    fn act(&mut self, row: usize, tick: &mut Tick<'_>) {
        let defects = match self.strategies[row] {
            0 => false,
            1 => true,
            2 => self.other_defected[row],
            _ => self.was_betrayed[row],
        };
        self.defected[row] = defects;
        let (player, other) = (tick.member() / self.players, tick.member() % self.players);
        let kind = if defects { DEFECT } else { COOPERATE };
        tick.send(kind, other * self.players + player, ());
    }

    fn publish(&self, _column: usize) -> Column {
        Column::Integers(self.scores.clone())
    }
}

dormouse_sdk::export_population!(Dilemma);
