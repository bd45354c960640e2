//! The events of a stream, one after the other: `text/event-stream` as the standard of HTML has it. A field that
//! nobody knows is passed over, and so is a line without a colon: proxies put such lines into streams.

use futures::StreamExt;

use crate::endpoint::Chunks;

/// How a stream came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Its sender closed it.
    Closed,
    /// It broke. The text says how.
    Broken(String),
    /// Whoever reads it has seen enough.
    Enough,
}

/// Whether to read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    More,
    Enough,
}

/// Hand the data of each event to `take`, until that has seen enough or the stream ends. What an event has that the
/// stream ends in is no data.
pub(crate) async fn each(mut chunks: Chunks, mut take: impl FnMut(&str) -> Next) -> End {
    let mut reader = Reader::default();
    while let Some(chunk) = chunks.next().await {
        match chunk {
            Ok(chunk) if reader.read(&chunk, &mut take) == Next::Enough => return End::Enough,
            Ok(_) => {}
            Err(error) => return End::Broken(error.to_string()),
        }
    }
    End::Closed
}

/// What is read of an event.
#[derive(Default)]
struct Reader {
    /// A line that has not ended yet.
    line: Vec<u8>,
    /// The line before has ended with a carriage return: a line feed that follows belongs to it.
    has_returned: bool,
    /// A line has ended.
    has_begun: bool,
    data: Option<String>,
}

impl Reader {
    fn read(&mut self, mut bytes: &[u8], take: &mut impl FnMut(&str) -> Next) -> Next {
        if !bytes.is_empty() && std::mem::take(&mut self.has_returned) {
            bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
        }
        while let Some(end) = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            self.line.extend_from_slice(&bytes[..end]);
            let is_return = bytes[end] == b'\r';
            bytes = &bytes[end + 1..];
            if is_return {
                self.has_returned = bytes.is_empty();
                bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
            }
            if self.end_line(take) == Next::Enough {
                return Next::Enough;
            }
        }
        self.line.extend_from_slice(bytes);
        Next::More
    }

    /// A line has ended. An empty one ends the event.
    fn end_line(&mut self, take: &mut impl FnMut(&str) -> Next) -> Next {
        let line = std::mem::take(&mut self.line);
        let mut line = &*line;
        if !std::mem::replace(&mut self.has_begun, true) {
            line = line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(line);
        }
        if line.is_empty() {
            return self.data.take().map_or(Next::More, |data| take(&data));
        }
        let value = match line.strip_prefix(b"data") {
            Some([]) => &[],
            Some([b':', b' ', value @ ..] | [b':', value @ ..]) => value,
            Some(_) | None => return Next::More,
        };
        let value = String::from_utf8_lossy(value);
        match &mut self.data {
            Some(data) => {
                data.push('\n');
                data.push_str(&value);
            }
            None => self.data = Some(value.into_owned()),
        }
        Next::More
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(pieces: &[&[u8]]) -> Vec<String> {
        let (mut reader, mut events) = (Reader::default(), Vec::new());
        for piece in pieces {
            reader.read(piece, &mut |data| {
                events.push(data.to_owned());
                Next::More
            });
        }
        events
    }

    #[test]
    fn only_data_is_read_and_lines_that_nobody_knows_are_passed_over() {
        let stream = "\u{feff}: a comment\ndata: one\n\nnonsense\nevent: x\nx-trace:1\nretry: soon\n\
                      data:two\r\ndata\rdata:  three\r\n\r\ndatabase: 4\nid\n\ndata: cut";
        assert_eq!(read(&[stream.as_bytes()]), ["one", "two\n\n three"]);
    }

    proptest! {
        #[test]
        fn it_does_not_matter_where_a_stream_is_cut(
            stream in "(data: ?|[a:é\u{feff} ]|\r\n|\r|\n){0,24}",
            cuts in proptest::collection::vec(0_usize..100, 0..4),
        ) {
            let bytes = stream.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]).collect();
            prop_assert_eq!(read(&pieces), read(&[bytes]));
        }
    }
}
