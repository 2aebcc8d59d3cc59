//! Cuts the JSON text of a tree into the texts of its entries, holding only what is needed for one.
//! What an entry says is `decode`'s. Used by `reader`.

use std::io::Read;

use crate::error::Damage;

/// As much is read at once.
const BLOCK: usize = 128 << 10;

/// The text and how far it was cut.
#[derive(Debug)]
pub(super) struct Pieces<R> {
    text: R,
    buffer: Vec<u8>,
    /// What of the buffer is used up.
    start: usize,
    place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Before everything.
    Begin,
    /// In the list of entries, before the first and before any other.
    First,
    Further,
    /// Behind everything.
    End,
}

impl<R: Read> Pieces<R> {
    pub(super) fn new(text: R) -> Pieces<R> {
        Pieces {
            text,
            buffer: Vec::new(),
            start: 0,
            place: Place::Begin,
        }
    }

    pub(super) fn text(&self) -> &R {
        &self.text
    }

    /// The JSON of the next entry; nothing at the end.
    pub(super) fn next_entry(&mut self) -> Result<Option<&[u8]>, Damage> {
        if self.place == Place::Begin {
            self.expect(b'{')?;
            self.find_entries(false)?;
        }
        if self.place == Place::End {
            return Ok(None);
        }
        match self.peek()? {
            b']' => {
                self.start += 1;
                self.find_entries(true)?;
                return Ok(None);
            }
            b',' if self.place == Place::Further => {
                self.start += 1;
                self.peek()?;
            }
            _ if self.place == Place::First => {}
            _ => return Err(unexpected()),
        }
        self.place = Place::Further;
        let length = self.value()?;
        let entry = self.start..self.start + length;
        self.start = entry.end;
        Ok(Some(&self.buffer[entry]))
    }

    /// Passes over the members of the outer object up to the list of entries; a second list is an error.
    fn find_entries(&mut self, mut is_further: bool) -> Result<(), Damage> {
        let had_entries = is_further;
        loop {
            match self.peek()? {
                b'}' => {
                    self.start += 1;
                    self.place = Place::End;
                    return match self.peek() {
                        Err(_) if self.start == self.buffer.len() => Ok(()),
                        _ => Err(unexpected()),
                    };
                }
                b',' if is_further => self.start += 1,
                _ if is_further => return Err(unexpected()),
                _ => {}
            }
            is_further = true;
            if self.peek()? != b'"' {
                return Err(unexpected());
            }
            let length = self.value()?;
            let key: String = serde_json::from_slice(&self.buffer[self.start..self.start + length])
                .map_err(Damage::malformed)?;
            let is_list = key == "nodes";
            self.start += length;
            self.expect(b':')?;
            if is_list && had_entries {
                return Err(unexpected());
            }
            if is_list && self.peek()? == b'[' {
                self.start += 1;
                self.place = Place::First;
                return Ok(());
            }
            self.peek()?;
            self.start += self.value()?;
        }
    }

    fn expect(&mut self, byte: u8) -> Result<(), Damage> {
        if self.peek()? != byte {
            return Err(unexpected());
        }
        self.start += 1;
        Ok(())
    }

    /// The next byte that is no white space; it stays.
    fn peek(&mut self) -> Result<u8, Damage> {
        loop {
            match self.buffer.get(self.start) {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.start += 1,
                Some(byte) => return Ok(*byte),
                None => self.fill()?,
            }
        }
    }

    /// The length of the JSON value that begins here; afterwards all of it is in the buffer.
    fn value(&mut self) -> Result<usize, Damage> {
        let (mut length, mut depth) = (0, 0usize);
        let (mut in_text, mut is_escaped) = (false, false);
        loop {
            let Some(&byte) = self.buffer.get(self.start + length) else {
                self.fill()?;
                continue;
            };
            if in_text {
                match byte {
                    _ if is_escaped => is_escaped = false,
                    b'\\' => is_escaped = true,
                    b'"' => in_text = false,
                    _ => {}
                }
                length += 1;
                if !in_text && depth == 0 {
                    return Ok(length);
                }
                continue;
            }
            match byte {
                b'"' => in_text = true,
                b'{' | b'[' => depth += 1,
                // The end of what is around a number or a word.
                b'}' | b']' | b',' | b':' if depth == 0 => return Ok(length),
                b'}' | b']' => {
                    depth -= 1;
                    if depth == 0 {
                        return Ok(length + 1);
                    }
                }
                _ => {}
            }
            length += 1;
        }
    }

    /// Reads on, behind what is not used up.
    fn fill(&mut self) -> Result<(), Damage> {
        self.buffer.drain(..self.start);
        self.start = 0;
        let length = self.buffer.len();
        self.buffer.resize(length + BLOCK, 0);
        let read = self.text.read(&mut self.buffer[length..]);
        let count = read.as_ref().map_or(0, |count| *count);
        self.buffer.truncate(length + count);
        match read {
            Err(error) => Err(Damage::malformed(error)),
            Ok(0) => Err(Damage::malformed("the tree ends in the middle")),
            Ok(_) => Ok(()),
        }
    }
}

fn unexpected() -> Damage {
    Damage::malformed("the tree is no list of entries")
}

#[cfg(test)]
mod tests {
    use super::Pieces;

    /// Gives one byte at a time, so that everything is cut everywhere.
    struct Slow<'a>(&'a [u8]);

    impl std::io::Read for Slow<'_> {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            let Some((byte, rest)) = self.0.split_first() else {
                return Ok(0);
            };
            (into[0], self.0) = (*byte, rest);
            Ok(1)
        }
    }

    fn entries(text: &str) -> Option<Vec<String>> {
        let mut pieces = Pieces::new(Slow(text.as_bytes()));
        let mut found = Vec::new();
        while let Some(entry) = pieces.next_entry().ok()? {
            found.push(String::from_utf8(entry.to_vec()).unwrap());
        }
        assert!(pieces.next_entry().unwrap().is_none());
        Some(found)
    }

    #[test]
    fn entries_are_cut_where_they_end() {
        for (text, expected) in [
            (r#"{"nodes":[]}"#, Some(vec![])),
            ("{\"nodes\":[{\"a\":1}]}\n", Some(vec![r#"{"a":1}"#])),
            (
                r#" { "nodes" : [ {"a":"]}\"\\"} , {} ] } "#,
                Some(vec![r#"{"a":"]}\"\\"}"#, "{}"]),
            ),
            (
                r#"{"x":[1,{"nodes":[7]}],"y":5,"nodes":[{"a":[[]]}],"z":"}"}"#,
                Some(vec![r#"{"a":[[]]}"#]),
            ),
            (r#"{"n\u006fdes":[{}]}"#, Some(vec!["{}"])),
            (r#"{"nodes":null}"#, Some(vec![])),
            (r#"{}"#, Some(vec![])),
            ("", None),
            ("[]", None),
            (r#"{"nodes":[{}"#, None),
            (r#"{"nodes":[{} {}]}"#, None),
            (r#"{"nodes":[{},]}"#, Some(vec!["{}", ""])),
            (r#"{"nodes":[,{}]}"#, Some(vec!["", "{}"])),
            (r#"{"nodes":[{}]} x"#, None),
            (r#"{"nodes":[{}] "x":1}"#, None),
            (r#"{"nodes":[{}],"nodes":[]}"#, None),
        ] {
            let expected = expected.map(|texts: Vec<&str>| texts.into_iter().map(str::to_owned).collect());
            assert_eq!(entries(text), expected, "{text}");
        }
    }
}
