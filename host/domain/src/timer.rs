//! Timers: when an agent wants to be woken, and with what.
//!
//! A timer belongs to its session and is part of its record: it is set and cancelled with the commit of a turn, and due
//! with the deadlines of the session. A turn that a timer sends has taken it: one that was set for a time is gone, and
//! one of a schedule is due again at the next time after that turn has begun. So what was missed while the host was
//! down comes once.

use std::time::Duration;

use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::TimeZone;

use crate::time::Timestamp;

/// The most timers that a session has.
pub const MAX_TIMERS: usize = 64;
/// The longest name of a timer, in bytes.
pub const MAX_NAME: usize = 128;
/// The longest text of a schedule, in bytes.
pub const MAX_SCHEDULE: usize = 128;
/// The longest message of a timer, in bytes.
pub const MAX_MESSAGE: usize = 4 << 10;
/// A timer is due no sooner than this after it was set: so an agent that wakes itself does that once a second.
pub const LEAST_DELAY: Duration = Duration::from_secs(1);
/// A timer is due no later than this after it was set: ten years.
pub const MOST_DELAY: Duration = Duration::from_secs(10 * 366 * 24 * 60 * 60);

/// When an agent is woken, and with what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timer {
    /// Its name within the session.
    pub name: String,
    /// When it is due next.
    pub due: Timestamp,
    /// When it is due again, and again. `None`: it is due once.
    pub schedule: Option<Schedule>,
    /// What the agent is sent.
    pub message: String,
    /// The number of the turn that has set it.
    pub set_in: u64,
}

/// Times that come again and again: five fields of cron, in UTC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule(String);

/// When a timer is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum When {
    /// At this time.
    At(Timestamp),
    /// So long after it was set.
    After(Duration),
    /// Again and again.
    Each(Schedule),
}

/// Why a timer was not set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimerError {
    /// Something that is said of it is wrong. The text says what to change.
    #[error("{0}")]
    Invalid(String),
    /// The session has as many as it may have.
    #[error("a session has at most {MAX_TIMERS} timers; cancel one")]
    TooMany,
}

/// The timers of a session, in the order of their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timers {
    all: Vec<Timer>,
    next: Option<Timestamp>,
}

impl Schedule {
    /// The schedule that this text says: minute, hour, day of the month, month and day of the week, as in a crontab
    /// (`*/5 * * * *`, `0 9 * * MON-FRI`), or `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly`.
    ///
    /// Takes up to some ten milliseconds, which it takes to find that a schedule never comes.
    ///
    /// # Errors
    /// It says none, or one that never comes. The text says what is wrong.
    pub fn parse(text: &str, now: Timestamp) -> Result<Schedule, TimerError> {
        let invalid = |why: String| {
            TimerError::Invalid(format!(
                "`{text}` is no schedule: {why}; it has five fields (minute, hour, day, month, weekday), as in \
                 `0 9 * * MON-FRI`, and is read in UTC"
            ))
        };
        if text.len() > MAX_SCHEDULE {
            let why = format!("a schedule has at most {MAX_SCHEDULE} bytes");
            return Err(TimerError::Invalid(why));
        }
        parser().parse(text).map_err(|error| invalid(error.to_string()))?;
        let schedule = Schedule(text.to_owned());
        match schedule.next(now) {
            Some(_) => Ok(schedule),
            None => Err(invalid("no day is ever like that".to_owned())),
        }
    }

    /// A schedule that was kept as this text.
    #[must_use]
    pub fn kept(text: String) -> Schedule {
        Schedule(text)
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first time after `now`. `None`: there is none.
    #[must_use]
    pub fn next(&self, now: Timestamp) -> Option<Timestamp> {
        let cron = parser().parse(&self.0).ok()?;
        let now = jiff::Timestamp::from_millisecond(now.0).ok()?.to_zoned(TimeZone::UTC);
        let next = cron.find_next_occurrence(&now, false).ok()?;
        Some(Timestamp(next.timestamp().as_millisecond()))
    }
}

fn parser() -> CronParser {
    CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build()
}

impl Timers {
    /// Those that were kept, in any order.
    #[must_use]
    pub fn kept(mut all: Vec<Timer>) -> Timers {
        all.sort_by(|one, other| one.name.cmp(&other.name));
        let mut timers = Timers { all, next: None };
        timers.find_next();
        timers
    }

    /// Of which nothing is known but when the next is due.
    #[must_use]
    pub fn due_at(next: Option<Timestamp>) -> Timers {
        Timers { all: Vec::new(), next }
    }

    /// All of them, in the order of their names.
    #[must_use]
    pub fn all(&self) -> &[Timer] {
        &self.all
    }

    /// When the next is due.
    #[must_use]
    pub fn next(&self) -> Option<Timestamp> {
        self.next
    }

    /// The one that is due first, if it is due.
    #[must_use]
    pub fn due(&self, now: Timestamp) -> Option<&Timer> {
        self.all.iter().filter(|timer| timer.due <= now).min_by_key(|timer| timer.due)
    }

    /// Set a timer in this turn, in place of one of the same name.
    ///
    /// # Errors
    /// [`TimerError`]: all is as it was.
    pub fn set(
        &mut self,
        name: String,
        when: When,
        message: String,
        turn: u64,
        now: Timestamp,
    ) -> Result<(), TimerError> {
        let invalid = |why: String| Err(TimerError::Invalid(why));
        if name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
            return invalid(format!(
                "the name of a timer has 1 to {MAX_NAME} bytes, and no control characters"
            ));
        }
        if message.len() > MAX_MESSAGE {
            return invalid(format!("the message of a timer has at most {MAX_MESSAGE} bytes"));
        }
        let soonest = now.after(LEAST_DELAY);
        let (due, schedule) = match when {
            When::At(at) => (at.max(soonest), None),
            When::After(delay) => (now.after(delay).max(soonest), None),
            When::Each(schedule) => {
                let Some(next) = schedule.next(now) else {
                    return invalid(format!("`{}` never comes", schedule.as_str()));
                };
                (next.max(soonest), Some(schedule))
            }
        };
        if due > now.after(MOST_DELAY) {
            return invalid("a timer is due within ten years".to_owned());
        }
        let timer = Timer { name, due, schedule, message, set_in: turn };
        match self.place(&timer.name) {
            Ok(place) => self.all[place] = timer,
            Err(_) if self.all.len() >= MAX_TIMERS => return Err(TimerError::TooMany),
            Err(place) => self.all.insert(place, timer),
        }
        self.find_next();
        Ok(())
    }

    /// Cancel the timer of this name. Answers whether there was one.
    pub fn cancel(&mut self, name: &str) -> bool {
        let place = self.place(name);
        if let Ok(place) = place {
            self.all.remove(place);
            self.find_next();
        }
        place.is_ok()
    }

    /// The timer of this name has sent a turn that has begun at this time.
    pub fn take(&mut self, name: &str, now: Timestamp) {
        let Ok(place) = self.place(name) else { return };
        let next = self.all[place].schedule.as_ref().and_then(|schedule| schedule.next(now));
        match next {
            Some(next) => self.all[place].due = next,
            None => drop(self.all.remove(place)),
        }
        self.find_next();
    }

    /// The session goes back to what it was after this turn: what was set since then is cancelled.
    pub fn go_back_to(&mut self, turn: u64) {
        self.all.retain(|timer| timer.set_in <= turn);
        self.find_next();
    }

    fn place(&self, name: &str) -> Result<usize, usize> {
        self.all.binary_search_by(|timer| timer.name.as_str().cmp(name))
    }

    fn find_next(&mut self) {
        self.next = self.all.iter().map(|timer| timer.due).min();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_893_456_000_000);
    const MINUTE: Duration = Duration::from_secs(60);

    fn set(timers: &mut Timers, name: &str, when: When, turn: u64) -> Result<(), TimerError> {
        timers.set(name.to_owned(), when, "wake up".to_owned(), turn, NOW)
    }

    fn schedule(text: &str) -> Schedule {
        Schedule::parse(text, NOW).expect("a schedule")
    }

    #[test]
    fn a_schedule_says_its_next_time_in_utc() {
        let minutes = |minutes: u32| NOW.after(MINUTE * minutes);
        // 2030-01-01 is a Tuesday.
        for (text, next) in [
            ("*/5 * * * *", minutes(5)),
            ("0 9 * * MON-FRI", minutes(9 * 60)),
            ("0 0 * * SUN", minutes(5 * 24 * 60)),
            ("@hourly", minutes(60)),
        ] {
            assert_eq!(schedule(text).next(NOW), Some(next), "{text}");
        }
    }

    #[test]
    fn what_is_no_schedule_or_never_comes_is_refused() {
        let long = "*".repeat(MAX_SCHEDULE + 1);
        for text in ["", "* * * *", "* * * * * *", "61 * * * *", "0 0 30 2 *", "soon", &long] {
            assert!(matches!(Schedule::parse(text, NOW), Err(TimerError::Invalid(_))), "{text}");
        }
    }

    #[test]
    fn the_first_that_is_due_comes_first_and_is_taken() {
        let mut timers = Timers::default();
        set(&mut timers, "later", When::After(2 * MINUTE), 1).expect("it is set");
        set(&mut timers, "each", When::Each(schedule("* * * * *")), 1).expect("it is set");
        assert_eq!((timers.next(), timers.due(NOW)), (Some(NOW.after(MINUTE)), None));
        let late = NOW.after(10 * MINUTE);
        assert_eq!(timers.due(late).expect("one is due").name, "each");
        timers.take("each", late);
        assert_eq!(timers.due(late).expect("one is due").name, "later", "once, however late");
        timers.take("later", late);
        assert_eq!((timers.all().len(), timers.next()), (1, Some(late.after(MINUTE))));
    }

    #[test]
    fn a_timer_takes_the_place_of_one_of_its_name_and_can_be_cancelled() {
        let mut timers = Timers::default();
        set(&mut timers, "one", When::After(MINUTE), 1).expect("it is set");
        set(&mut timers, "one", When::After(5 * MINUTE), 2).expect("it is set");
        assert_eq!(timers.next(), Some(NOW.after(5 * MINUTE)));
        assert!(timers.cancel("one") && !timers.cancel("one"));
        assert_eq!(timers, Timers::default());
    }

    #[test]
    fn going_back_cancels_what_was_set_since_and_revives_nothing() {
        let mut timers = Timers::default();
        for (name, turn) in [("old", 1), ("new", 3)] {
            set(&mut timers, name, When::After(MINUTE), turn).expect("it is set");
        }
        timers.go_back_to(2);
        let names: Vec<&str> = timers.all().iter().map(|timer| timer.name.as_str()).collect();
        assert_eq!(names, ["old"]);
    }

    #[test]
    fn a_session_has_so_many_timers_of_such_a_size_within_ten_years() {
        let mut timers = Timers::default();
        for n in 0..MAX_TIMERS {
            set(&mut timers, &n.to_string(), When::After(MINUTE), 1).expect("it is set");
        }
        assert_eq!(set(&mut timers, "more", When::After(MINUTE), 1), Err(TimerError::TooMany));
        set(&mut timers, "1", When::After(MINUTE), 1).expect("it takes the place of another");
        let mut invalid = |name: &str, when, message: String| {
            let set = timers.set(name.to_owned(), when, message, 1, NOW);
            assert!(matches!(set, Err(TimerError::Invalid(_))), "{name}: {set:?}");
        };
        let soon = || When::After(MINUTE);
        invalid("", soon(), String::new());
        invalid("a\nb", soon(), String::new());
        invalid(&"n".repeat(MAX_NAME + 1), soon(), String::new());
        invalid("2", soon(), "m".repeat(MAX_MESSAGE + 1));
        invalid("2", When::After(2 * MOST_DELAY), String::new());
        invalid("2", When::At(Timestamp(i64::MAX)), String::new());
    }

    #[test]
    fn no_timer_is_due_within_a_second() {
        let mut timers = Timers::default();
        for when in [When::At(Timestamp(0)), When::After(Duration::ZERO)] {
            set(&mut timers, "now", when, 1).expect("it is set");
            assert_eq!(timers.next(), Some(NOW.after(LEAST_DELAY)));
        }
    }
}
