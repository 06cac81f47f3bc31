//! One stream of a remote script: found out of it is the line by which the wrapper says that the script has ended,
//! kept is a bounded part of the rest.

/// Which part of a stream is kept when it is too long.
#[derive(Debug, Clone, Copy)]
pub(super) enum Keep {
    /// The first so many bytes.
    Head(usize),
    /// The last so many bytes.
    Tail(usize),
}

/// A stream being read.
#[derive(Debug)]
pub(super) struct Stream {
    /// A newline and the run's token: what comes after it is the exit code and a newline.
    mark: Vec<u8>,
    keep: Keep,
    held: Vec<u8>,
    kept: Vec<u8>,
    cut: bool,
    status: Option<i32>,
    eof: bool,
}

impl Stream {
    pub(super) fn new(token: &str, keep: Keep) -> Self {
        let mark = format!("\n{token} ").into_bytes();
        Self { mark, keep, held: Vec::new(), kept: Vec::new(), cut: false, status: None, eof: false }
    }

    /// Takes the next bytes; gives on to `log` what is the script's own. An empty slice is the stream's end.
    pub(super) fn push(&mut self, bytes: &[u8], log: &mut dyn FnMut(&[u8])) {
        if self.done() {
            return;
        }
        if bytes.is_empty() {
            self.eof = true;
            let rest = std::mem::take(&mut self.held);
            return self.give(&rest, log);
        }
        self.held.extend_from_slice(bytes);
        let found = self.held.windows(self.mark.len()).position(|window| window == self.mark);
        if let Some(at) = found {
            let after = &self.held[at + self.mark.len()..];
            if let Some(end) = after.iter().position(|b| *b == b'\n') {
                self.status = Some(std::str::from_utf8(&after[..end]).ok().and_then(|n| n.parse().ok()).unwrap_or(-1));
                let own: Vec<u8> = self.held.drain(..).take(at).collect();
                self.give(&own, log);
            }
            return;
        }
        // What could be the mark's beginning stays here until more is known.
        let starts = |n: &usize| self.held.ends_with(&self.mark[..*n]);
        let back = (1..self.mark.len()).rev().find(starts).unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - back);
        let own = std::mem::replace(&mut self.held, rest);
        self.give(&own, log);
    }

    fn give(&mut self, bytes: &[u8], log: &mut dyn FnMut(&[u8])) {
        if bytes.is_empty() {
            return;
        }
        log(bytes);
        match self.keep {
            Keep::Head(limit) => {
                let room = limit - self.kept.len();
                self.cut |= bytes.len() > room;
                self.kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
            }
            Keep::Tail(limit) => {
                self.kept.extend_from_slice(bytes);
                if self.kept.len() > 2 * limit {
                    self.cut = true;
                    self.kept.drain(..self.kept.len() - limit);
                }
            }
        }
    }

    /// Whether nothing more is to come of it.
    pub(super) fn done(&self) -> bool {
        self.eof || self.status.is_some()
    }
    /// The script's exit code, if it has ended.
    pub(super) fn status(&self) -> Option<i32> {
        self.status
    }
    /// What was kept, and whether that is less than came.
    pub(super) fn into_kept(self) -> (Vec<u8>, bool) {
        (self.kept, self.cut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_is_found_wherever_the_chunks_are_cut() {
        let all = b"a\n\nto\ntoken b\n\ntok 77\nlater";
        for cut in 1..all.len() {
            let (mut seen, mut stream) = (Vec::new(), Stream::new("tok", Keep::Head(100)));
            for chunk in all.chunks(cut) {
                stream.push(chunk, &mut |b| seen.extend_from_slice(b));
            }
            assert_eq!(stream.status(), Some(77), "{cut}");
            assert_eq!(seen, b"a\n\nto\ntoken b\n", "{cut}");
        }
    }

    #[test]
    fn what_is_kept_is_bounded_at_either_end() {
        let mut head = Stream::new("t", Keep::Head(4));
        let mut tail = Stream::new("t", Keep::Tail(4));
        for chunk in ["abc", "def", "ghi", "jkl"] {
            head.push(chunk.as_bytes(), &mut |_| ());
            tail.push(chunk.as_bytes(), &mut |_| ());
        }
        assert_eq!(head.into_kept(), (b"abcd".to_vec(), true));
        let (kept, cut) = tail.into_kept();
        assert!(cut && kept.ends_with(b"ijkl") && kept.len() <= 8);
    }
}
