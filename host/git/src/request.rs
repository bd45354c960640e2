//! What a client asks for when it fetches, in both versions of the protocol.

use std::collections::BTreeSet;

use crate::error::Error;
use crate::limits::Limits;
use crate::object::ObjectId;
use crate::packet::{Packet, Packets};

/// A request for objects.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Fetch {
    pub(crate) wants: BTreeSet<ObjectId>,
    /// In the order in which the client has named them.
    pub(crate) haves: Vec<ObjectId>,
    /// The commits whose parents the client does not have.
    pub(crate) shallow: BTreeSet<ObjectId>,
    /// How many commits of each branch the client wants at most.
    pub(crate) depth: Option<u32>,
    pub(crate) filter: Filter,
    /// Whether the client has no more to say.
    pub(crate) is_done: bool,
    pub(crate) no_progress: bool,
    /// Whether what follows the wants was begun. Of the first version alone.
    pub(crate) has_negotiation: bool,
    pub(crate) bands: bool,
    pub(crate) detailed_acks: bool,
    pub(crate) no_done: bool,
}

/// Which files are left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Filter {
    #[default]
    None,
    /// Those of so many bytes and more.
    FromSize(u64),
}

impl Fetch {
    /// The arguments of `command=fetch`, of version 2.
    pub(crate) fn read(packets: &mut Packets<'_>, limits: &Limits) -> Result<Fetch, Error> {
        let mut fetch = Fetch { bands: true, ..Fetch::default() };
        while let Some(line) = argument(packets)? {
            let (word, rest) = split(line);
            match word {
                b"done" => fetch.is_done = true,
                b"no-progress" => fetch.no_progress = true,
                // What they allow is not made use of.
                b"thin-pack" | b"ofs-delta" | b"include-tag" => {}
                _ => fetch.take(word, rest, limits)?,
            }
        }
        if fetch.wants.is_empty() {
            return Err(Error::Malformed("nothing is asked for"));
        }
        Ok(fetch)
    }

    /// A request of the first version. None: nothing is asked for.
    pub(crate) fn read_v0(
        packets: &mut Packets<'_>,
        limits: &Limits,
    ) -> Result<Option<Fetch>, Error> {
        let mut fetch = Fetch::default();
        let mut is_first = true;
        loop {
            let line = match packets.next()? {
                None if is_first => return Ok(None),
                None => return Err(Error::Malformed("the list of wants has no end")),
                Some(Packet::Flush) if is_first => return Ok(None),
                Some(Packet::Flush) => break,
                Some(Packet::Delimiter) => return Err(Error::Malformed("a section in a list")),
                Some(Packet::Line(line)) => line,
            };
            let (word, mut rest) = split(line);
            if std::mem::take(&mut is_first) {
                let (id, capabilities) = split(rest);
                capabilities.split(|byte| *byte == b' ').for_each(|it| fetch.capability(it));
                rest = id;
            }
            if word == b"have" {
                return Err(Error::Malformed("the list of wants has no end"));
            }
            fetch.take(word, rest, limits)?;
        }
        if fetch.wants.is_empty() {
            return Err(Error::Malformed("nothing is asked for"));
        }
        while let Some(packet) = packets.next()? {
            fetch.has_negotiation = true;
            match packet {
                Packet::Flush => {}
                Packet::Delimiter => return Err(Error::Malformed("a section in a list")),
                Packet::Line(b"done") => {
                    fetch.is_done = true;
                    break;
                }
                Packet::Line(line) => match split(line) {
                    (b"have", id) => fetch.take(b"have", id, limits)?,
                    _ => return Err(Error::Malformed("there are other lines among the haves")),
                },
            }
        }
        Ok(Some(fetch))
    }

    fn capability(&mut self, capability: &[u8]) {
        match capability {
            b"side-band-64k" => self.bands = true,
            b"multi_ack_detailed" => self.detailed_acks = true,
            b"no-done" => self.no_done = true,
            b"no-progress" => self.no_progress = true,
            _ => {}
        }
    }

    fn take(&mut self, word: &[u8], rest: &[u8], limits: &Limits) -> Result<(), Error> {
        let id = || ObjectId::parse(rest).ok_or(Error::Malformed("this is no id of an object"));
        match word {
            b"want" => {
                self.wants.insert(id()?);
                at_most(self.wants.len(), limits.wants, "wants")
            }
            b"have" => {
                self.haves.push(id()?);
                at_most(self.haves.len(), limits.haves, "haves")
            }
            b"shallow" => {
                self.shallow.insert(id()?);
                at_most(self.shallow.len(), limits.haves, "shallow commits")
            }
            b"deepen" => {
                let depth = number(rest).ok_or(Error::Malformed("this is no depth"))?;
                // A client that wants all says 0x7fffffff.
                self.depth = u32::try_from(depth).ok().filter(|it| (1..0x7fff_ffff).contains(it));
                if self.depth.is_none() && depth != 0 {
                    self.depth = Some(u32::MAX);
                }
                Ok(())
            }
            b"filter" => {
                self.filter = Filter::parse(rest)?;
                Ok(())
            }
            b"deepen-since" | b"deepen-not" | b"deepen-relative" => Err(Error::Refused(
                "this repository is cut by --depth alone, not by a time, a name or --deepen".into(),
            )),
            _ => Err(Error::Malformed("there is an argument that was not offered")),
        }
    }
}

impl Filter {
    fn parse(text: &[u8]) -> Result<Filter, Error> {
        let size = match text.strip_prefix(b"blob:limit=") {
            None if text == b"blob:none" => Some(0),
            None => None,
            Some(size) => match size.split_last() {
                Some((b'k', count)) => number(count).and_then(|it| it.checked_mul(1 << 10)),
                Some((b'm', count)) => number(count).and_then(|it| it.checked_mul(1 << 20)),
                Some((b'g', count)) => number(count).and_then(|it| it.checked_mul(1 << 30)),
                _ => number(size),
            },
        };
        let refused = "this repository has the filters blob:none and blob:limit=<bytes> alone";
        size.map(Filter::FromSize).ok_or_else(|| Error::Refused(refused.into()))
    }

    /// Whether a file of this size is left out.
    pub(crate) fn omits(self, size: u64) -> bool {
        match self {
            Filter::None => false,
            Filter::FromSize(least) => size >= least,
        }
    }
}

/// The next argument of a command of version 2. None: it has no more.
pub(crate) fn argument<'a>(packets: &mut Packets<'a>) -> Result<Option<&'a [u8]>, Error> {
    match packets.next()? {
        Some(Packet::Line(line)) => Ok(Some(line)),
        Some(Packet::Flush) => Ok(None),
        Some(Packet::Delimiter) => Err(Error::Malformed("a command has too many sections")),
        None => Err(Error::Malformed("a command has no end")),
    }
}

fn at_most(count: usize, most: usize, what: &'static str) -> Result<(), Error> {
    if count > most {
        return Err(Error::TooMany { what, most: most as u64 });
    }
    Ok(())
}

/// The first word of a line, and what follows it.
pub(crate) fn split(line: &[u8]) -> (&[u8], &[u8]) {
    match line.iter().position(|byte| *byte == b' ') {
        None => (line, b""),
        Some(at) => (&line[..at], &line[at + 1..]),
    }
}

fn number(text: &[u8]) -> Option<u64> {
    let digits = text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok().filter(|_| digits)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet;

    const ID: &str = "0123456789012345678901234567890123456789";

    fn request(lines: &[&str]) -> Vec<u8> {
        let mut out = Vec::new();
        for line in lines {
            match *line {
                "0000" => packet::flush(&mut out),
                "0001" => packet::delimiter(&mut out),
                line => packet::text(&mut out, line),
            }
        }
        out
    }

    fn v2(lines: &[&str]) -> Result<Fetch, Error> {
        Fetch::read(&mut Packets(&request(lines)), &Limits::default())
    }

    fn v0(lines: &[&str]) -> Result<Option<Fetch>, Error> {
        Fetch::read_v0(&mut Packets(&request(lines)), &Limits::default())
    }

    #[test]
    fn arguments_are_read() {
        let want = format!("want {ID}");
        let fetch = v2(&[&want, "deepen 3", "filter blob:limit=2k", "thin-pack", "done", "0000"]);
        let fetch = fetch.unwrap();
        assert_eq!(fetch.wants.len(), 1);
        assert_eq!((fetch.depth, fetch.is_done), (Some(3), true));
        assert!(fetch.filter.omits(2048) && !fetch.filter.omits(2047));
        assert_eq!(v2(&[&want, "deepen 2147483647", "0000"]).unwrap().depth, Some(u32::MAX));
        assert_eq!(v2(&[&want, "filter blob:none", "0000"]).unwrap().filter, Filter::FromSize(0));
    }

    #[test]
    fn a_request_of_the_first_version_is_read() {
        let want = format!("want {ID} multi_ack_detailed side-band-64k ofs-delta");
        let have = format!("have {ID}");
        let fetch = v0(&[&want, "0000", &have, "done"]).unwrap().unwrap();
        assert!(fetch.is_done && fetch.bands && fetch.detailed_acks && !fetch.no_progress);
        assert_eq!((fetch.wants.len(), fetch.haves.len()), (1, 1));
        assert_eq!(v0(&["0000"]), Ok(None));
        assert_eq!(v0(&[]), Ok(None));
        assert!(!v0(&[&want, "deepen 1", "0000"]).unwrap().unwrap().has_negotiation);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let want = format!("want {ID}");
        let bad: [&[&str]; 8] = [
            &["0000"],
            &[&want],
            &["want 12", "0000"],
            &[&want, "0001"],
            &[&want, "deepen -1", "0000"],
            &[&want, "deepen x", "0000"],
            &[&want, "command=fetch", "0000"],
            &["done", "0000"],
        ];
        for lines in bad {
            assert!(matches!(v2(lines), Err(Error::Malformed(_))), "{lines:?}");
            assert!(!matches!(v0(lines), Ok(Some(_))), "{lines:?}");
        }
        for line in ["filter tree:0", "filter blob:limit=x", "deepen-since 1", "deepen-relative"] {
            assert!(matches!(v2(&[&want, line, "0000"]), Err(Error::Refused(_))), "{line}");
        }
    }

    #[test]
    fn lists_are_bounded() {
        let limits = Limits { wants: 1, haves: 1, ..Limits::default() };
        let (one, two) = ("1".repeat(40), "2".repeat(40));
        for word in ["want", "have", "shallow"] {
            let lines = request(&[&format!("{word} {one}"), &format!("{word} {two}"), "0000"]);
            let read = Fetch::read(&mut Packets(&lines), &limits);
            assert!(matches!(read, Err(Error::TooMany { most: 1, .. })), "{word}: {read:?}");
        }
    }
}
