//! Packets, of which the protocol consists: four hexadecimal digits say how long one is, with themselves.

use crate::error::Error;

/// The most bytes of a packet.
const MAX: usize = 65_520;
/// The most bytes that one packet of a band carries.
pub(crate) const MAX_BAND: usize = MAX - 5;

/// What a packet of several bands carries.
#[derive(Clone, Copy)]
pub(crate) enum Band {
    Pack = 1,
    Progress = 2,
    Error = 3,
}

/// A packet that was read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Packet<'a> {
    /// Bytes, without the line feed at their end.
    Line(&'a [u8]),
    /// The end of a list or of a request.
    Flush,
    /// What parts the sections of a request.
    Delimiter,
}

/// The packets of a request.
pub(crate) struct Packets<'a>(pub(crate) &'a [u8]);

impl<'a> Packets<'a> {
    /// The next one. None: the request ends here.
    pub(crate) fn next(&mut self) -> Result<Option<Packet<'a>>, Error> {
        if self.0.is_empty() {
            return Ok(None);
        }
        const CUT: Error = Error::Malformed("a packet is cut off");
        let (digits, _) = self.0.split_at_checked(4).ok_or(CUT)?;
        let is_digit = |byte: &u8| byte.is_ascii_hexdigit();
        let digits = std::str::from_utf8(digits).ok().filter(|it| it.bytes().all(|b| is_digit(&b)));
        let length = digits.and_then(|digits| usize::from_str_radix(digits, 16).ok());
        let length = length.ok_or(Error::Malformed("a packet has no length"))?;
        let taken = length.max(4);
        let (packet, rest) = self.0.split_at_checked(taken).ok_or(CUT)?;
        self.0 = rest;
        match length {
            0 => Ok(Some(Packet::Flush)),
            1 => Ok(Some(Packet::Delimiter)),
            2 | 3 => Err(Error::Malformed("a packet has a length that means nothing")),
            _ if length > MAX => Err(Error::Malformed("a packet is too long")),
            _ => {
                let line = packet.get(4..).unwrap_or_default();
                Ok(Some(Packet::Line(line.strip_suffix(b"\n").unwrap_or(line))))
            }
        }
    }
}

/// Write a line. What a packet has no room for is left out.
pub(crate) fn text(out: &mut Vec<u8>, line: &str) {
    let line = line.as_bytes();
    let line = &line[..line.len().min(MAX - 5)];
    out.extend_from_slice(format!("{:04x}", line.len() + 5).as_bytes());
    out.extend_from_slice(line);
    out.push(b'\n');
}

/// Write at most [`MAX_BAND`] bytes of a band.
pub(crate) fn band(out: &mut Vec<u8>, band: Band, bytes: &[u8]) {
    out.extend_from_slice(format!("{:04x}", bytes.len() + 5).as_bytes());
    out.push(band as u8);
    out.extend_from_slice(bytes);
}

pub(crate) fn flush(out: &mut Vec<u8>) {
    out.extend_from_slice(b"0000");
}

pub(crate) fn delimiter(out: &mut Vec<u8>) {
    out.extend_from_slice(b"0001");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8]) -> Result<Vec<Packet<'_>>, Error> {
        let mut packets = Packets(bytes);
        std::iter::from_fn(|| packets.next().transpose()).collect()
    }

    #[test]
    fn packets_are_read_as_they_are_written() {
        let mut out = Vec::new();
        text(&mut out, "want");
        delimiter(&mut out);
        band(&mut out, Band::Progress, b"x");
        flush(&mut out);
        assert_eq!(out, b"0009want\n0001\x30\x30\x306\x02x0000");
        let line = Packet::Line;
        let expected = vec![line(b"want"), Packet::Delimiter, line(b"\x02x"), Packet::Flush];
        assert_eq!(all(&out), Ok(expected));
    }

    #[test]
    fn what_is_no_packet_is_refused() {
        for bytes in [
            &b"000"[..],
            b"0002",
            b"0003",
            b"+005a",
            b"ffff",
            b"0006a",
            b"zzzz",
            b"\xff\xff\xff\xff",
        ] {
            assert!(matches!(all(bytes), Err(Error::Malformed(_))), "{bytes:?}");
        }
        let mut long = b"fff1".to_vec();
        long.resize(0xfff1, b'x');
        assert!(matches!(all(&long), Err(Error::Malformed(_))));
    }

    #[test]
    fn a_line_that_is_too_long_is_cut() {
        let mut out = Vec::new();
        text(&mut out, &"x".repeat(100_000));
        assert_eq!(out.len(), MAX);
        assert_eq!(all(&out).unwrap().len(), 1);
    }
}
