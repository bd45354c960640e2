//! What a session has used, line by line, and what a turn of it spent its time on.

use super::session::{SessionHandle, SessionReadError};
use dormouse_domain::account::Account;
use dormouse_domain::bill::{self, BillLine};
use dormouse_domain::limits::Usage;
use dormouse_domain::trace::{self, Trace};
use dormouse_store::{Bound, Page};

/// A page ends behind the turn with which it has this many lines: a turn may have thousands.
const MAX_LINES: usize = 2_000;

/// What a session has used.
#[derive(Clone, Debug)]
pub struct SessionUsage {
    /// All of it, over the whole life of the session.
    pub totals: Usage,
    /// What the session spends together with others. `None`: it spends on its own.
    pub account: Option<Account>,
    /// What the totals are made of, turn by turn. The lines of all pages sum up to the totals, as long as no
    /// turn of the session was dropped by [`Retention`](crate::Retention).
    pub lines: Page<BillLine, u64>,
}

impl SessionHandle {
    /// What the session has used, with the bills of its turns of numbers above `after`, in order, of at most
    /// `limit` turns. A page ends before its turns have more than [`PAGE_BYTES`](crate::PAGE_BYTES), and behind the turn
    /// with which it has 2,000 lines; its `next` is the `after` of the one behind it.
    ///
    /// ```
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use dormouse::{BillSums, Host, NewSession, Pattern};
    ///
    /// let host = Host::builder().in_memory().build().await?;
    /// let counter = NewSession::agent("counter").pattern(Pattern::Hybrid);
    /// let session = host.sessions().create(counter).await?;
    /// session.send("one").await?;
    /// let usage = session.usage(0, 100).await?;
    /// let sums: BillSums = usage.lines.entries.iter().map(BillSums::from).sum();
    /// assert_eq!(sums.cost, usage.totals.cost);
    /// # host.shut_down().await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`SessionReadError::NotFound`]
    pub async fn usage(&self, after: u64, limit: usize) -> Result<SessionUsage, SessionReadError> {
        let session = self.info().await?.session;
        let totals = session.usage;
        let turns = self.host.inner.store.turns(self.id, after, Bound::entries(limit)).await?;
        let mut lines = Page { entries: Vec::new(), next: turns.next };
        for turn in turns.entries {
            let number = turn.number;
            // What was committed since the totals were read is in none of them.
            if number > totals.last_turn() {
                lines.next = None;
                break;
            }
            lines.entries.extend(bill::lines(turn));
            if lines.entries.len() >= MAX_LINES {
                lines.next = (number < totals.last_turn()).then_some(number);
                break;
            }
        }
        let account = match session.account {
            Some(account) => self.host.inner.store.account(account).await?,
            None => None,
        };
        Ok(SessionUsage { totals, account, lines })
    }

    /// What a turn spent its time on. `None`: there is no such turn.
    ///
    /// # Errors
    /// [`SessionReadError::NotFound`] where there is no such session.
    pub async fn trace(&self, turn: u64) -> Result<Option<Trace>, SessionReadError> {
        Ok(self.turn(turn).await?.map(trace::trace))
    }
}
