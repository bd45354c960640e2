//! A queue in which keys take turns, and the entries of one key come in the order of their numbers.
//!
//! Invariants: each key that has entries has one turn. A key that comes anew takes the number of its
//! entry for its turn, so keys with one entry each are served in order of arrival. When the entry that
//! is first leaves, its key comes after all others that are there; so between two entries of one key
//! at most one turn passes for each other key, however many entries the key has.
//!
//! All operations take logarithmic time.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// The queue.
pub struct RoundRobin<K, T> {
    /// The keys that have entries, in the order of their turns.
    turns: BTreeMap<u64, K>,
    entries: HashMap<K, Own<T>>,
    len: usize,
    next: u64,
}

/// What one key has.
struct Own<T> {
    turn: u64,
    /// By number. Never empty.
    entries: BTreeMap<u64, T>,
}

impl<K, T> Default for RoundRobin<K, T> {
    fn default() -> RoundRobin<K, T> {
        RoundRobin { turns: BTreeMap::new(), entries: HashMap::new(), len: 0, next: 0 }
    }
}

impl<K: Clone + Eq + Hash, T> RoundRobin<K, T> {
    /// A number for an entry, after all that were given before.
    pub fn number(&mut self) -> u64 {
        let number = self.next;
        self.next += 1;
        number
    }

    /// Add an entry under a number of [`RoundRobin::number`], which no other entry has now.
    pub fn enter(&mut self, key: &K, number: u64, entry: T) {
        self.len += 1;
        if let Some(own) = self.entries.get_mut(key) {
            own.entries.insert(number, entry);
            return;
        }
        self.turns.insert(number, key.clone());
        let own = Own { turn: number, entries: BTreeMap::from([(number, entry)]) };
        self.entries.insert(key.clone(), own);
    }

    /// The first entry: of the key that has the turn, the one with the lowest number.
    pub fn first(&self) -> Option<(u64, &T)> {
        let (_, key) = self.turns.first_key_value()?;
        let (number, entry) = self.entries.get(key)?.entries.first_key_value()?;
        Some((*number, entry))
    }

    /// Take an entry out. If it was the first, the turn of its key is over.
    pub fn leave(&mut self, key: &K, number: u64) -> Option<T> {
        let was_first = self.first().is_some_and(|(first, _)| first == number);
        let own = self.entries.get_mut(key)?;
        let entry = own.entries.remove(&number)?;
        self.len -= 1;
        if own.entries.is_empty() {
            self.turns.remove(&own.turn);
            self.entries.remove(key);
        } else if was_first {
            self.turns.remove(&own.turn);
            own.turn = self.next;
            self.turns.insert(self.next, key.clone());
            self.next += 1;
        }
        Some(entry)
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many entries this key has.
    pub fn count(&self, key: &K) -> usize {
        self.entries.get(key).map_or(0, |own| own.entries.len())
    }

    /// All entries, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.entries.values().flat_map(|own| own.entries.values())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn order(mut queue: RoundRobin<char, char>) -> String {
        let mut order = String::new();
        while let Some((number, key)) = queue.first() {
            let key = *key;
            order.push(key);
            queue.leave(&key, number);
        }
        assert_eq!((queue.len(), queue.turns.len(), queue.entries.len()), (0, 0, 0));
        order
    }

    fn queue(keys: &str) -> RoundRobin<char, char> {
        let mut queue = RoundRobin::default();
        for key in keys.chars() {
            let number = queue.number();
            queue.enter(&key, number, key);
        }
        queue
    }

    #[test]
    fn keys_take_turns_however_many_entries_one_of_them_has() {
        assert_eq!(order(queue("aaaaabccb")), "abcabcaaa");
        assert_eq!(order(queue("dbca")), "dbca");
    }

    #[test]
    fn who_leaves_and_comes_again_without_others_of_its_key_has_the_turn_that_it_had() {
        let mut queue = queue("abc");
        assert_eq!(queue.leave(&'a', 0), Some('a'));
        queue.enter(&'a', 0, 'a');
        assert_eq!(order(queue), "abc");
    }

    #[derive(Clone, Debug)]
    enum Step {
        Enter(usize),
        Leave(usize),
        Serve,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (0usize..4).prop_map(Step::Enter),
            1 => (0usize..12).prop_map(Step::Leave),
            2 => Just(Step::Serve),
        ]
    }

    proptest! {
        #[test]
        fn nobody_is_overtaken_by_its_own_key_nor_twice_by_another(
            steps in proptest::collection::vec(step(), 0..200),
        ) {
            let mut queue: RoundRobin<usize, u64> = RoundRobin::default();
            // Who is there, in order of arrival.
            let mut there: Vec<(usize, u64)> = Vec::new();
            // How often each key was served since another began to wait for its turn.
            let mut passed = [[0_u32; 4]; 4];
            for step in steps {
                match step {
                    Step::Enter(key) => {
                        if there.iter().all(|(other, _)| *other != key) {
                            passed[key] = [0; 4];
                        }
                        let number = queue.number();
                        queue.enter(&key, number, number);
                        there.push((key, number));
                    }
                    Step::Leave(which) if which < there.len() => {
                        let (key, number) = there.remove(which);
                        let was_first = queue.first().map(|(first, _)| first) == Some(number);
                        prop_assert_eq!(queue.leave(&key, number), Some(number));
                        if was_first {
                            passed[key] = [0; 4];
                        }
                    }
                    Step::Leave(_) => {}
                    Step::Serve => {
                        let Some((number, _)) = queue.first() else {
                            prop_assert!(there.is_empty());
                            continue;
                        };
                        let at = there.iter().position(|(_, other)| *other == number);
                        let (key, _) = there[at.expect("only who came is served")];
                        let earliest = there.iter().find(|(other, _)| *other == key);
                        prop_assert_eq!(earliest, Some(&(key, number)));
                        queue.leave(&key, number);
                        there.retain(|(_, other)| *other != number);
                        passed[key] = [0; 4];
                        for (waits, passed) in passed.iter_mut().enumerate() {
                            if waits != key && there.iter().any(|(other, _)| *other == waits) {
                                passed[key] += 1;
                                prop_assert!(passed[key] <= 1, "{waits} was overtaken twice");
                            }
                        }
                    }
                }
                prop_assert_eq!(queue.len(), there.len());
            }
        }
    }
}
