//! One 512-byte header (POSIX pax, "ustar Interchange Format"; GNU tar manual, "Basic Tar Format").

use super::{BLOCK, Entry, Fault};

/// The fields by which a header is told apart; the others are read when the entry is described.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) typeflag: u8,
    pub(super) size: u64,
    pub(super) format: Format,
}

/// Which fields there are behind the first 257 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    V7,
    Ustar,
    /// Schilling's: a shorter prefix.
    Star,
    Gnu,
}

impl Header {
    pub(super) fn parse(block: &[u8; BLOCK]) -> Result<Self, Fault> {
        // The sum counts its own field as blanks. Old tars summed signed bytes.
        let sums = |from: &[u8]| -> (i64, i64) {
            from.iter().fold((0, 0), |(unsigned, signed), &b| {
                (unsigned + i64::from(b), signed + i64::from(b.cast_signed()))
            })
        };
        let (head, tail) = (sums(&block[..148]), sums(&block[156..]));
        let blanks = 8 * i64::from(b' ');
        let sum = number(&block[148..156])?;
        if sum != head.0 + tail.0 + blanks && sum != head.1 + tail.1 + blanks {
            return Err(Fault::Malformed("a header's checksum is wrong"));
        }
        let format = match &block[257..265] {
            b"ustar\x0000" if &block[508..] == b"tar\0" => Format::Star,
            b"ustar\x0000" => Format::Ustar,
            b"ustar  \0" => Format::Gnu,
            // Some writers leave the version out.
            magic if magic.starts_with(b"ustar\0") => Format::Ustar,
            _ => Format::V7,
        };
        let size = u64::try_from(number(&block[124..136])?).map_err(|_| Fault::Malformed("a size is negative"))?;
        Ok(Self {
            typeflag: block[156],
            size,
            format,
        })
    }

    /// Fills in what this header alone says.
    pub(super) fn fill(&self, entry: &mut Entry, block: &[u8; BLOCK]) -> Result<(), Fault> {
        let id = |field: &[u8]| u32::try_from(number(field)?).map_err(|_| Fault::Malformed("an owner is out of range"));
        entry.path.clear();
        let prefix = match self.format {
            Format::Ustar => text(&block[345..500]),
            Format::Star => text(&block[345..476]),
            Format::V7 | Format::Gnu => &[],
        };
        if !prefix.is_empty() {
            entry.path.extend_from_slice(prefix);
            entry.path.push(b'/');
        }
        entry.path.extend_from_slice(text(&block[..100]));
        entry.link.clear();
        entry.link.extend_from_slice(text(&block[157..257]));
        entry.mode = u32::try_from(number(&block[100..108])? & 0o7777).unwrap_or(0);
        entry.uid = id(&block[108..116])?;
        entry.gid = id(&block[116..124])?;
        entry.size = self.size;
        entry.mtime = super::Time {
            seconds: number(&block[136..148])?,
            nanos: 0,
        };
        entry.device = match self.typeflag {
            b'3' | b'4' if self.format != Format::V7 => (id(&block[329..337])?, id(&block[337..345])?),
            _ => (0, 0),
        };
        entry.xattrs.clear();
        entry.sparse = None;
        Ok(())
    }
}

fn text(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|&b| b == 0).unwrap_or(field.len());
    &field[..end]
}

/// A number: octal digits between blanks and NULs, or, where the first bit is set, big-endian two's complement.
pub(super) fn number(field: &[u8]) -> Result<i64, Fault> {
    const BAD: Fault = Fault::Malformed("a number in a header is malformed");
    let first = field[0];
    if first & 0x80 != 0 {
        // The marker bit is not part of the number: what follows it is the sign.
        let mut out = i64::from((first << 1).cast_signed() >> 1);
        for &byte in &field[1..] {
            if !(-(1 << 55)..1 << 55).contains(&out) {
                return Err(BAD);
            }
            out = (out << 8) | i64::from(byte);
        }
        return Ok(out);
    }
    let digits = trim(field);
    if digits.is_empty() {
        return Ok(0);
    }
    let mut out: i64 = 0;
    for &byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 7 {
            return Err(BAD);
        }
        // At most eleven or twelve digits: 36 bits.
        out = (out << 3) | i64::from(digit);
    }
    Ok(out)
}

fn trim(field: &[u8]) -> &[u8] {
    let blank = |b: &u8| matches!(b, b' ' | 0);
    let start = field.iter().position(|b| !blank(b)).unwrap_or(field.len());
    let end = field.iter().rposition(|b| !blank(b)).map_or(start, |at| at + 1);
    &field[start..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_binary() {
        let check = |field: &[u8], expected: Option<i64>| assert_eq!(number(field).ok(), expected, "{field:?}");
        check(b"0000644\0", Some(0o644));
        check(b"   644 \0", Some(0o644));
        check(b"\0\0\0\0", Some(0));
        check(b"0000648\0", None);
        check(b"-0000001", None);
        check(b"12 34567", None);
        check(&[0x80, 0, 0, 0, 0, 0, 1, 0], Some(256));
        check(&[0xff; 12], Some(-1));
        check(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe], Some(-2));
        check(
            &[0x80, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            Some(i64::MAX),
        );
        check(&[0x80, 0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0], None);
        check(&[0xbf; 12], None);
    }
}
