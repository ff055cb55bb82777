//! Lines out of bytes. The limit holds while a line is still coming in, so that a peer can make the
//! server hold one frame and no more.

use memchr::memchr;

/// A line is longer than allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a frame has at most {limit} bytes")]
pub struct FrameTooLarge {
    /// The limit in force. Unit: bytes, without the line end.
    pub limit: usize,
}

/// Takes bytes in and gives frames out.
#[derive(Debug)]
pub struct FrameReader {
    bytes: Vec<u8>,
    /// Where the first frame that was not given out begins.
    start: usize,
    /// Up to here no line end stands behind `start`.
    searched: usize,
    limit: usize,
}

/// Memory beyond this is given back once the buffer is empty. Unit: bytes.
const KEPT_BYTES_MAX: usize = 4 * 1024;

impl FrameReader {
    /// A reader for frames of at most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { bytes: Vec::new(), start: 0, searched: 0, limit }
    }

    /// Changes the limit, for what was taken in already too.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Takes bytes in.
    pub fn extend(&mut self, bytes: &[u8]) {
        if self.start == self.bytes.len() {
            self.reclaim();
        } else if self.start >= KEPT_BYTES_MAX && self.start * 2 >= self.bytes.len() {
            self.bytes.drain(..self.start);
            self.searched -= self.start;
            self.start = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Takes out the next frame that is complete and not empty, without its line end.
    pub fn next_frame(&mut self) -> Result<Option<&[u8]>, FrameTooLarge> {
        loop {
            let Some(found) = memchr(b'\n', &self.bytes[self.searched..]) else {
                return self.incomplete();
            };
            let (start, end) = (self.start, self.searched + found);
            self.start = end + 1;
            self.searched = self.start;
            let line = &self.bytes[start..end];
            let length = line.len() - usize::from(line.ends_with(b"\r"));
            if length > self.limit {
                return Err(FrameTooLarge { limit: self.limit });
            }
            if length > 0 {
                return Ok(Some(&self.bytes[start..start + length]));
            }
        }
    }

    fn incomplete(&mut self) -> Result<Option<&[u8]>, FrameTooLarge> {
        self.searched = self.bytes.len();
        // The last byte may be the `\r` of a line end to come.
        let rest = &self.bytes[self.start..];
        if rest.len() - usize::from(rest.ends_with(b"\r")) > self.limit {
            return Err(FrameTooLarge { limit: self.limit });
        }
        if rest.is_empty() {
            self.reclaim();
        }
        Ok(None)
    }

    fn reclaim(&mut self) {
        self.bytes.clear();
        self.start = 0;
        self.searched = 0;
        if self.bytes.capacity() > KEPT_BYTES_MAX {
            self.bytes = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frames(reader: &mut FrameReader) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        while let Some(frame) = reader.next_frame().unwrap() {
            frames.push(frame.to_vec());
        }
        frames
    }

    #[test]
    fn lines_end_with_or_without_carriage_return_and_empty_ones_are_ignored() {
        let mut reader = FrameReader::new(10);
        reader.extend(b"one\r\n\n\r\ntwo\nthr");
        assert_eq!(frames(&mut reader), [b"one".to_vec(), b"two".to_vec()]);
        reader.extend(b"ee\r");
        assert!(frames(&mut reader).is_empty());
        reader.extend(b"\n");
        assert_eq!(frames(&mut reader), [b"three".to_vec()]);
    }

    #[test]
    fn the_limit_counts_without_the_line_end() {
        let mut reader = FrameReader::new(3);
        reader.extend(b"abc\r\nabc\n");
        assert_eq!(frames(&mut reader).len(), 2);
        reader.extend(b"abc\r");
        assert!(frames(&mut reader).is_empty());
        reader.extend(b"x");
        assert_eq!(reader.next_frame(), Err(FrameTooLarge { limit: 3 }));
        let mut reader = FrameReader::new(3);
        reader.extend(b"abcd");
        assert_eq!(reader.next_frame(), Err(FrameTooLarge { limit: 3 }));
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(
            text in "[ab\r\n]{0,60}",
            cuts in proptest::collection::vec(1..9_usize, 0..60),
        ) {
            let mut whole = FrameReader::new(100);
            whole.extend(text.as_bytes());
            let expected = frames(&mut whole);
            let mut pieces = FrameReader::new(100);
            let (mut got, mut rest) = (Vec::new(), text.as_bytes());
            for cut in cuts {
                let (now, later) = rest.split_at(cut.min(rest.len()));
                pieces.extend(now);
                got.extend(frames(&mut pieces));
                rest = later;
            }
            pieces.extend(rest);
            got.extend(frames(&mut pieces));
            prop_assert_eq!(got, expected);
        }
    }
}
