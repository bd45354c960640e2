//! When a session had an instance in memory. Pure.
//!
//! A sleep waits for no disk, so the record may not know yet that an instance is gone, and never learns it
//! where the host has ended before it could note it. Such a residence is taken to have ended when the session
//! was used last.

use std::time::Duration;

use crate::time::Timestamp;

/// When a session had an instance, as far as it was noted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Residence {
    /// When its last instance was made.
    pub woken_at: Option<Timestamp>,
    /// When an instance of it was dropped last.
    pub slept_at: Option<Timestamp>,
    /// How long it had an instance, up to the last that was dropped.
    pub resident: Duration,
    /// Whether the last instance was made and not dropped.
    pub is_open: bool,
}

impl Residence {
    /// An instance is made at this time, of a session that was used last at that time.
    #[must_use]
    pub fn woken(self, at: Timestamp, used_at: Timestamp) -> Residence {
        let before = if self.is_open { self.slept(used_at) } else { self };
        Residence { woken_at: Some(at), is_open: true, ..before }
    }

    /// The instance is dropped at this time. Where there is none, nothing changes.
    #[must_use]
    pub fn slept(self, at: Timestamp) -> Residence {
        let Some(woken_at) = self.woken_at.filter(|_| self.is_open) else { return self };
        let resident = self.resident.saturating_add(at.since(woken_at));
        Residence { slept_at: Some(at.max(woken_at)), resident, is_open: false, ..self }
    }

    /// What is known once a sleep is noted: a note that comes late changes nothing.
    #[must_use]
    pub fn noted(self, note: Residence) -> Residence {
        let times = |residence: Residence| (residence.woken_at, residence.slept_at);
        if times(note) >= times(self) { note } else { self }
    }

    /// What is told at this time of a session that has an instance or not, and was used last at that time.
    #[must_use]
    pub fn told(self, has_instance: bool, used_at: Timestamp, now: Timestamp) -> Residence {
        match (self.is_open, has_instance) {
            (true, true) => {
                let Residence { resident, .. } = self.slept(now);
                Residence { resident, ..self }
            }
            (true, false) => self.slept(used_at),
            (false, _) => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: Residence =
        Residence { woken_at: None, slept_at: None, resident: Duration::ZERO, is_open: false };

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp(seconds * 1000)
    }

    #[test]
    fn the_times_between_wakes_and_sleeps_add_up() {
        let residence =
            NEW.woken(at(10), at(0)).slept(at(30)).woken(at(100), at(20)).slept(at(105));
        assert_eq!((residence.woken_at, residence.slept_at), (Some(at(100)), Some(at(105))));
        assert_eq!(residence.resident, seconds(25));
        assert_eq!(residence.slept(at(200)), residence, "it slept already");
        assert_eq!(NEW.slept(at(5)), NEW, "it never had an instance");
    }

    #[test]
    fn a_residence_whose_end_nobody_has_noted_ended_when_the_session_was_used_last() {
        let open = NEW.woken(at(10), at(0));
        assert_eq!(open.told(false, at(15), at(90)), open.slept(at(15)));
        let again = open.woken(at(100), at(15));
        assert_eq!((again.slept_at, again.resident), (Some(at(15)), seconds(5)));
        let unused = open.slept(at(7));
        assert_eq!((unused.slept_at, unused.resident), (Some(at(10)), seconds(0)));
    }

    #[test]
    fn a_session_that_has_an_instance_is_resident_until_now() {
        let told = NEW.woken(at(10), at(0)).told(true, at(15), at(90));
        assert_eq!(
            (told.woken_at, told.slept_at, told.resident),
            (Some(at(10)), None, seconds(80))
        );
    }

    #[test]
    fn a_note_of_an_earlier_sleep_comes_too_late() {
        let first = NEW.woken(at(10), at(0)).slept(at(30));
        let second = first.woken(at(40), at(20));
        assert_eq!(second.noted(first), second);
        assert_eq!(second.noted(second.slept(at(50))), second.slept(at(50)));
    }
}
