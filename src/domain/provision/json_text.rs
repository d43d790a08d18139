//! JSON as it comes in: how long it is, and numbers that no float holds.

use std::cell::Cell;
use std::io::{self, Read};
use std::rc::Rc;

/// The longest text of a single resource, in bytes.
const LARGEST_RESOURCE: u64 = 16 * 1024 * 1024;
/// The longest number that is looked at, in bytes; a longer one is refused by whoever reads it.
const LONGEST_NUMBER: usize = 4096;

/// Counts what is read, in all and since the last entry began.
#[derive(Debug, Clone, Default)]
pub(super) struct Measure {
    pub total: Rc<Cell<u64>>,
    pub entry: Rc<Cell<u64>>,
    pub limit: u64,
}

/// A reader that stops where too much is read.
pub(super) struct Measured<R> {
    pub from: R,
    pub measure: Measure,
}

impl<R: Read> Read for Measured<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(buffer)?;
        let add = |cell: &Cell<u64>| cell.set(cell.get().saturating_add(count as u64));
        add(&self.measure.total);
        add(&self.measure.entry);
        if self.measure.total.get() > self.measure.limit {
            return Err(io::Error::other("too long"));
        }
        if self.measure.entry.get() > LARGEST_RESOURCE {
            return Err(io::Error::other("a single entry is longer than 16 MiB"));
        }
        Ok(count)
    }
}

/// Terraform's numbers have any size; one that is too large for a float (`1e400`) is handed on as a text.
pub(super) struct Numbers<R> {
    from: R,
    place: Place,
    /// The number that is being read.
    number: Vec<u8>,
    out: Vec<u8>,
    given: usize,
    ended: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Between,
    Text,
    /// After a backslash.
    Escaped,
    Number,
}

impl<R: Read> Numbers<R> {
    pub(super) fn new(from: R) -> Self {
        Self { from, place: Place::Between, number: Vec::new(), out: Vec::new(), given: 0, ended: false }
    }

    fn take(&mut self, byte: u8) {
        if self.place == Place::Number {
            if matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E') && self.number.len() < LONGEST_NUMBER {
                return self.number.push(byte);
            }
            self.end_number();
        }
        self.place = match (self.place, byte) {
            (Place::Between, b'"') => Place::Text,
            (Place::Between, b'-' | b'0'..=b'9') => {
                self.number.push(byte);
                self.place = Place::Number;
                return;
            }
            (Place::Text, b'"') => Place::Between,
            (Place::Text, b'\\') => Place::Escaped,
            (Place::Escaped, _) => Place::Text,
            (place, _) => place,
        };
        self.out.push(byte);
    }

    fn end_number(&mut self) {
        let text = std::str::from_utf8(&self.number).unwrap_or_default();
        let fits = text.parse::<f64>().map_or(true, f64::is_finite);
        let quote: &[u8] = if fits { b"" } else { b"\"" };
        self.out.extend_from_slice(quote);
        self.out.append(&mut self.number);
        self.out.extend_from_slice(quote);
        self.place = Place::Between;
    }
}

impl<R: Read> Read for Numbers<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.given == self.out.len() && !self.ended {
            (self.given, self.ended) = (0, true);
            self.out.clear();
            let mut chunk = [0; 16 * 1024];
            let count = self.from.read(&mut chunk)?;
            self.ended = count == 0;
            chunk[..count].iter().for_each(|byte| self.take(*byte));
            if self.ended {
                self.end_number();
            }
        }
        let count = buffer.len().min(self.out.len() - self.given);
        buffer[..count].copy_from_slice(&self.out[self.given..self.given + count]);
        self.given += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_numbers_that_no_float_holds_become_texts() {
        let read = |text: &str| {
            let mut out = String::new();
            Numbers::new(text.as_bytes()).read_to_string(&mut out).unwrap();
            out
        };
        let same = r#"{"a": [1, -2.5e3, "1e400", "\"1e400", true], "1e400": null}"#;
        assert_eq!(read(same), same);
        assert_eq!(read("[1e400,-1E+999, 3]"), r#"["1e400","-1E+999", 3]"#);
        let long = format!("1{}", "0".repeat(400));
        assert_eq!((read(&long), read("")), (format!("\"{long}\""), String::new()));
    }
}
