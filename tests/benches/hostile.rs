//! What guests and clients that behave as badly as they can do to their neighbours.
//!
//! A few ordinary sessions take turns, beside one attack after the other. Hostile guests run in a host
//! inside this process, in as many sessions as there are threads for guests; hostile clients, and their
//! neighbours, speak HTTP with the binary, which is started anew for each attack. A row has
//!
//! - how long half of the neighbours' turns took at most, and 99 of 100; each also as a ratio to the same
//!   beside something harmless, measured just before: plain loops for guests, and for clients nothing, or
//!   as many clients that ask for something small as fast as they can (marked `*`);
//! - how many turns of the neighbours were not answered;
//! - the memory that the process took more than before, at most, and as a part of the memory budget;
//! - how much more was charged to the budget, at most;
//! - what a second of the attack costs those who attack, where guests run for them.
//!
//! The harmless is an attack as well: the ratio of `nothing` is 1, and as far as it is not, the others
//! say nothing. `plain requests` and `plain turns` tell what it is to share two processors with clients
//! that do no harm.
//!
//! `tests/bench --only hostile [--quick] [NAME…]`: of the attacks only those with such a name. With
//! `guests` or `clients` in place of a name, only those.

#![expect(clippy::disallowed_methods, reason = "to read the clock is what measuring is")]

#[path = "hostile/clients.rs"]
mod clients;
#[path = "hostile/guests.rs"]
mod guests;
#[path = "hostile/table.rs"]
mod table;

use std::time::Duration;

use anyhow::Result;

/// What is to be measured, and for how long.
struct Wanted {
    names: Vec<String>,
    time: Duration,
}

impl Wanted {
    fn from_command_line() -> Wanted {
        let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
        let quick = arguments.iter().any(|argument| argument == "--quick");
        let names = arguments.into_iter().filter(|a| !a.starts_with("--")).collect();
        let time = if quick { Duration::from_millis(700) } else { Duration::from_secs(2) };
        Wanted { names, time }
    }

    /// Whether attacks of this kind are wanted, all or some.
    fn has(&self, kind: &str) -> bool {
        let other = |name: &String| KINDS.contains(&name.as_str()) && name != kind;
        !self.names.iter().any(other)
    }

    fn has_attack(&self, attack: &str) -> bool {
        let mut names = self.names.iter().filter(|name| !KINDS.contains(&name.as_str())).peekable();
        names.peek().is_none() || names.any(|name| attack.contains(name.as_str()))
    }
}

/// What attacks come from.
const KINDS: [&str; 2] = ["guests", "clients"];

fn main() -> Result<()> {
    let wanted = Wanted::from_command_line();
    tokio::runtime::Runtime::new()?.block_on(async {
        if wanted.has("guests") {
            guests::measure(&wanted).await?;
        }
        if wanted.has("clients") {
            clients::measure(&wanted).await?;
        }
        Ok(())
    })
}
