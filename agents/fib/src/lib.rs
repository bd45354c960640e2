//! Computes Fibonacci numbers the slow way, to keep a processor busy.

use std::hint::black_box;

use dormouse_sdk::prelude::*;

/// Beyond this a turn takes minutes.
const LARGEST: u32 = 40;

#[derive(Default, Serialize, Deserialize)]
struct Fib;

impl Agent for Fib {
    fn handle(&mut self, turn: &Turn, _host: &Host) -> Result<Reply> {
        let n = requested(&turn.text())?;
        Ok(Reply::text(format!("fib({n}) = {}", fib(n))))
    }
}

export_agent!(Fib, portable);

fn requested(text: &str) -> Result<u32> {
    let text = text.trim();
    let digits = text.strip_prefix("fib").unwrap_or(text).trim();
    match digits.parse() {
        Ok(n) if n <= LARGEST => Ok(n),
        _ => Err(Error::invalid(format!("say `fib N`, with N from 0 to {LARGEST}"))),
    }
}

/// The definition, word for word: the number of calls is the point.
fn fib(n: u32) -> u64 {
    if n < 2 { n.into() } else { fib(black_box(n - 1)) + fib(black_box(n - 2)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dormouse_sdk::testing::MockHost;

    #[test]
    fn numbers_follow_the_definition() {
        let mut mock = MockHost::new();
        for (text, answer) in [
            ("fib 0", "fib(0) = 0"),
            ("fib 1", "fib(1) = 1"),
            ("fib 10", "fib(10) = 55"),
            (" 20 ", "fib(20) = 6765"),
        ] {
            assert_eq!(mock.turn(&mut Fib, text), Ok(Reply::text(answer)));
        }
    }

    #[test]
    fn what_would_take_too_long_is_invalid() {
        for text in ["fib 41", "fib -1", "fib ten", "hello", ""] {
            let answer = MockHost::new().turn(&mut Fib, text);
            assert!(matches!(answer, Err(Error::Invalid(_))), "{text}");
        }
    }
}
