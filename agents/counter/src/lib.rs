//! Counts its turns.

use dormouse_sdk::prelude::*;

#[derive(Default, Serialize, Deserialize)]
struct Counter {
    turns: u64,
}

impl Agent for Counter {
    fn handle(&mut self, turn: &Turn, _host: &Host) -> Result<Reply> {
        self.turns += 1;
        Ok(Reply::text(format!("turn {}: {}", self.turns, turn.text())))
    }
}

export_agent!(Counter, portable);

#[cfg(test)]
mod tests {
    use super::*;
    use dormouse_sdk::testing::MockHost;

    #[test]
    fn turns_are_counted_across_an_upgrade() {
        let mut mock = MockHost::new();
        let mut counter = Counter::default();
        for (text, answer) in [("one", "turn 1: one"), ("two", "turn 2: two")] {
            assert_eq!(mock.turn(&mut counter, text), Ok(Reply::text(answer)));
        }
        let mut counter = mock.reload(&counter).unwrap();
        let reply = mock.turn(&mut counter, "three");
        assert_eq!(reply, Ok(Reply::text("turn 3: three")));
    }

    #[test]
    fn a_request_of_the_host_is_declined_and_not_counted() {
        let mut mock = MockHost::new();
        let mut counter = Counter::default();
        assert_eq!(mock.compact(&mut counter), Err(Error::Declined));
        assert_eq!(counter.turns, 0);
    }
}
