//! The service `git-upload-pack` of the smart protocol over HTTP.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::error::Error;
use crate::history::RevisionId;
use crate::object::ObjectId;
use crate::pack::{Manner, Pack};
use crate::packet::{self, Band, Packet, Packets};
use crate::plan::Plan;
use crate::repository::{Graph, MAIN, Repository};
use crate::request::{Fetch, argument, split};
use crate::walk::Segment;

/// What a client is told of who serves it.
const AGENT: &str = concat!("agent=dormouse/", env!("CARGO_PKG_VERSION"));

/// A version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// That of clients that do not ask for another.
    V0,
    /// That of `Git-Protocol: version=2`.
    V2,
}

impl Protocol {
    /// What a client speaks that sent this header `Git-Protocol`.
    #[must_use]
    pub fn of(header: Option<&str>) -> Protocol {
        let asks = header.is_some_and(|it| it.split(':').any(|key| key.trim() == "version=2"));
        if asks { Protocol::V2 } else { Protocol::V0 }
    }
}

/// The body of an answer, in pieces of at most 64 KiB. What a piece needs is computed when somebody asks for it, and
/// that blocks the thread. Whoever drops it ends the work.
///
/// After an error there is nothing more. The piece before it tells the client, where the client can be told.
pub struct Answer {
    ready: VecDeque<Bytes>,
    pack: Option<Pack>,
    has_bands: bool,
    error: Option<Error>,
}

impl Repository {
    /// The body of the answer to `GET …/info/refs?service=git-upload-pack`, whose type is
    /// [`ADVERTISEMENT_TYPE`](crate::ADVERTISEMENT_TYPE).
    ///
    /// # Errors
    ///
    /// A revision cannot be read. [`Error::body`] tells the client.
    pub fn advertisement(&self, protocol: Protocol) -> Result<Bytes, Error> {
        let mut out = Vec::new();
        match protocol {
            Protocol::V2 => {
                for line in [
                    "version 2",
                    AGENT,
                    "ls-refs=unborn",
                    "fetch=shallow filter",
                    "object-format=sha1",
                ] {
                    packet::text(&mut out, line);
                }
            }
            Protocol::V0 => {
                packet::text(&mut out, "# service=git-upload-pack");
                packet::flush(&mut out);
                self.advertise_references(&mut out)?;
            }
        }
        packet::flush(&mut out);
        Ok(Bytes::from(out))
    }

    /// The answer to `POST …/git-upload-pack` with this body, of which nothing is packed any more. Its type is
    /// [`RESULT_TYPE`](crate::RESULT_TYPE).
    ///
    /// # Errors
    ///
    /// The request is none, or asks for what is not there, or a revision cannot be read. [`Error::body`] tells the
    /// client.
    pub fn upload_pack(&self, protocol: Protocol, request: &[u8]) -> Result<Answer, Error> {
        let most = self.limits.request_bytes;
        if request.len() > most {
            return Err(Error::TooMany { what: "bytes in a request", most: most as u64 });
        }
        let mut packets = Packets(request);
        match protocol {
            Protocol::V0 => match Fetch::read_v0(&mut packets, &self.limits)? {
                None => Ok(Answer::of(Vec::new())),
                Some(fetch) => self.fetch_v0(fetch),
            },
            Protocol::V2 => match command(&mut packets)? {
                None => Ok(Answer::of(Vec::new())),
                Some(Command::References) => self.list_references(&mut packets),
                Some(Command::Fetch) => self.fetch(Fetch::read(&mut packets, &self.limits)?),
            },
        }
    }

    fn advertise_references(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        let mut capabilities = format!(
            "multi_ack_detailed no-done side-band-64k no-progress ofs-delta shallow filter {AGENT} \
             object-format=sha1"
        );
        let mut lines = self.named_commits()?;
        match lines.first() {
            None => lines.push(("capabilities^{}".into(), ObjectId([0; 20]))),
            Some((name, _)) if name == "HEAD" => capabilities += &format!(" symref=HEAD:{MAIN}"),
            Some(_) => {}
        }
        for (name, commit) in lines {
            let capabilities = std::mem::take(&mut capabilities);
            let end = if capabilities.is_empty() { "" } else { "\0" };
            packet::text(out, &format!("{commit} {name}{end}{capabilities}"));
        }
        Ok(())
    }

    /// All references with their commits, `HEAD` first.
    fn named_commits(&self) -> Result<Vec<(String, ObjectId)>, Error> {
        let mut lines = Vec::new();
        for (name, revision) in self.references() {
            let commit = self.commit_id(revision)?;
            if name == MAIN {
                lines.insert(0, ("HEAD".to_owned(), commit));
            }
            lines.push((name.to_owned(), commit));
        }
        Ok(lines)
    }

    fn list_references(&self, packets: &mut Packets<'_>) -> Result<Answer, Error> {
        let (mut has_symrefs, mut has_unborn, mut prefixes) = (false, false, Vec::new());
        while let Some(line) = argument(packets)? {
            match split(line) {
                (b"symrefs", _) => has_symrefs = true,
                (b"unborn", _) => has_unborn = true,
                // There are no tags that could be peeled.
                (b"peel", _) => {}
                // More of them than a client needs: it gets all.
                (b"ref-prefix", prefix) if prefixes.len() <= MAX_PREFIXES => prefixes.push(prefix),
                (b"ref-prefix", _) => {}
                _ => return Err(Error::Malformed("there is an argument that was not offered")),
            }
        }
        let is_listed = |name: &str| {
            let begins = |prefix: &&[u8]| name.as_bytes().starts_with(prefix);
            prefixes.is_empty() || prefixes.len() > MAX_PREFIXES || prefixes.iter().any(begins)
        };
        let mut out = Vec::new();
        let lines = self.named_commits()?;
        let symref = if has_symrefs { format!(" symref-target:{MAIN}") } else { String::new() };
        if has_unborn && lines.first().is_none_or(|(name, _)| name != "HEAD") && is_listed("HEAD") {
            packet::text(&mut out, &format!("unborn HEAD{symref}"));
        }
        for (name, commit) in lines.iter().filter(|(name, _)| is_listed(name)) {
            let symref = if name == "HEAD" { &*symref } else { "" };
            packet::text(&mut out, &format!("{commit} {name}{symref}"));
        }
        packet::flush(&mut out);
        Ok(Answer::of(out))
    }

    fn fetch(&self, fetch: Fetch) -> Result<Answer, Error> {
        let graph = self.graph()?;
        let plan = Plan::new(&graph, &fetch);
        let mut out = Vec::new();
        if !fetch.is_done {
            packet::text(&mut out, "acknowledgments");
            if plan.common.is_empty() {
                packet::text(&mut out, "NAK");
            }
            for id in &plan.common {
                packet::text(&mut out, &format!("ACK {id}"));
            }
            if !plan.is_ready {
                packet::flush(&mut out);
                return Ok(Answer::of(out));
            }
            packet::text(&mut out, "ready");
            packet::delimiter(&mut out);
        }
        if fetch.depth.is_some() {
            packet::text(&mut out, "shallow-info");
            plan.write_shallow(&mut out);
            packet::delimiter(&mut out);
        }
        packet::text(&mut out, "packfile");
        Ok(Answer {
            pack: Some(self.pack(&graph, &fetch, plan)),
            has_bands: true,
            ..Answer::of(out)
        })
    }

    fn fetch_v0(&self, fetch: Fetch) -> Result<Answer, Error> {
        let graph = self.graph()?;
        let plan = Plan::new(&graph, &fetch);
        let mut out = Vec::new();
        if fetch.depth.is_some() {
            plan.write_shallow(&mut out);
            packet::flush(&mut out);
        }
        if !fetch.has_negotiation {
            // The client wants to know where its history is cut off before it goes on.
            return Ok(Answer::of(out));
        }
        let last = plan.common.last();
        if fetch.detailed_acks {
            for id in &plan.common {
                packet::text(&mut out, &format!("ACK {id} common"));
            }
        } else if let Some(first) = plan.common.first() {
            packet::text(&mut out, &format!("ACK {first}"));
        }
        let is_ready = fetch.detailed_acks && plan.is_ready;
        if fetch.is_done {
            match last {
                Some(id) if fetch.detailed_acks => packet::text(&mut out, &format!("ACK {id}")),
                Some(_) => {}
                None => packet::text(&mut out, "NAK"),
            }
        } else {
            if let Some(id) = last.filter(|_| is_ready) {
                packet::text(&mut out, &format!("ACK {id} ready"));
            }
            if fetch.detailed_acks || last.is_none() {
                packet::text(&mut out, "NAK");
            }
            match last {
                Some(id) if is_ready && fetch.no_done => {
                    packet::text(&mut out, &format!("ACK {id}"))
                }
                Some(_) | None => return Ok(Answer::of(out)),
            }
        }
        let pack = self.pack(&graph, &fetch, plan);
        Ok(Answer { pack: Some(pack), has_bands: fetch.bands, ..Answer::of(out) })
    }

    fn pack(&self, graph: &Graph, fetch: &Fetch, plan: Plan) -> Pack {
        let manner = Manner { bands: fetch.bands, progress: !fetch.no_progress };
        let search = if plan.objects.is_empty() { Vec::new() } else { self.search(graph) };
        Pack::new(self.clone(), manner, plan.segments, (plan.objects, search), fetch.filter)
    }

    /// Where single objects are looked for: first at the tips, for there it is that clients miss them, and then
    /// everywhere.
    fn search(&self, graph: &Graph) -> Vec<Segment> {
        let tips: Vec<RevisionId> = self.references().map(|(_, tip)| *tip).collect();
        let only = |tip: &RevisionId| Segment { revisions: vec![*tip], ..Segment::default() };
        let chain = |tip: &RevisionId| {
            let before = |id: &RevisionId| graph.parent(id);
            let mut revisions: Vec<_> = std::iter::successors(Some(*tip), before).collect();
            revisions.reverse();
            Segment { revisions, ..Segment::default() }
        };
        tips.iter().map(only).chain(tips.iter().map(chain)).collect()
    }
}

/// The most prefixes of references that a list is narrowed by.
const MAX_PREFIXES: usize = 64;

impl Plan {
    fn write_shallow(&self, out: &mut Vec<u8>) {
        for (word, ids) in [("shallow", &self.shallow), ("unshallow", &self.unshallow)] {
            for id in ids {
                packet::text(out, &format!("{word} {id}"));
            }
        }
    }
}

enum Command {
    References,
    Fetch,
}

/// The command of a request of version 2, up to its arguments. None: there is none.
fn command(packets: &mut Packets<'_>) -> Result<Option<Command>, Error> {
    let mut command = None;
    let mut is_first = true;
    loop {
        let here = packets.0;
        match packets.next()? {
            None | Some(Packet::Flush) if is_first => return Ok(None),
            None => return Err(Error::Malformed("a command has no end")),
            Some(Packet::Flush) => {
                // It has no arguments. Whoever reads these finds their end.
                packets.0 = here;
                break;
            }
            Some(Packet::Delimiter) => break,
            Some(Packet::Line(b"command=ls-refs")) => command = Some(Command::References),
            Some(Packet::Line(b"command=fetch")) => command = Some(Command::Fetch),
            Some(Packet::Line(line)) if line.starts_with(b"command=") => {
                return Err(Error::Malformed("there is a command that was not offered"));
            }
            Some(Packet::Line(b"object-format=sha1")) => {}
            Some(Packet::Line(line)) if line.starts_with(b"object-format=") => {
                return Err(Error::Refused("this repository has objects by SHA-1 alone".into()));
            }
            Some(Packet::Line(_)) => {}
        }
        is_first = false;
    }
    command.map(Some).ok_or(Error::Malformed("there is no command"))
}

impl Answer {
    fn of(bytes: Vec<u8>) -> Answer {
        let mut ready = VecDeque::new();
        let mut rest = Bytes::from(bytes);
        while !rest.is_empty() {
            ready.push_back(rest.split_to(rest.len().min(PIECE)));
        }
        Answer { ready, pack: None, has_bands: false, error: None }
    }
}

/// The most bytes of a piece.
const PIECE: usize = 64 << 10;

impl Iterator for Answer {
    type Item = Result<Bytes, Error>;

    fn next(&mut self) -> Option<Result<Bytes, Error>> {
        if let Some(piece) = self.ready.pop_front() {
            return Some(Ok(piece));
        }
        if let Some(error) = self.error.take() {
            return Some(Err(error));
        }
        let pack = self.pack.as_mut()?;
        match pack.next() {
            Ok(Some(piece)) => Some(Ok(piece)),
            Ok(None) if self.has_bands => {
                self.pack = None;
                Some(Ok(Bytes::from_static(b"0000")))
            }
            Ok(None) => {
                self.pack = None;
                None
            }
            Err(error) if self.has_bands => {
                self.pack = None;
                let mut out = Vec::new();
                packet::band(&mut out, Band::Error, format!("{}\n", error.public()).as_bytes());
                self.error = Some(error);
                Some(Ok(Bytes::from(out)))
            }
            Err(error) => {
                self.pack = None;
                Some(Err(error))
            }
        }
    }
}
