//! What extended headers say about the entry after them (POSIX pax, "pax Extended Header").

use super::{Entry, Fault, Time, sparse};

const BAD: Fault = Fault::Malformed("a PAX record is malformed");

/// All that was said about one entry before its own header.
#[derive(Debug, Default)]
pub(super) struct Extended {
    pub(super) long_name: Option<Vec<u8>>,
    pub(super) long_link: Option<Vec<u8>>,
    records: Records,
}

#[derive(Debug, Default)]
struct Records {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u32>,
    gid: Option<u32>,
    mtime: Option<Time>,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    sparse: sparse::Keys,
}

impl Extended {
    /// Takes the records of a PAX header, in place of those of an earlier one.
    pub(super) fn replace_records(&mut self, mut bytes: &[u8]) -> Result<(), Fault> {
        self.records = Records::default();
        while !bytes.is_empty() {
            let blank = bytes.iter().position(|&b| b == b' ').ok_or(BAD)?;
            let length = usize::try_from(decimal(&bytes[..blank])?).map_err(|_| BAD)?;
            let record = bytes.get(blank + 1..length).ok_or(BAD)?;
            bytes = &bytes[length..];
            let record = record.strip_suffix(b"\n").ok_or(BAD)?;
            let equals = record.iter().position(|&b| b == b'=').ok_or(BAD)?;
            self.records.take(&record[..equals], &record[equals + 1..])?;
        }
        Ok(())
    }

    /// Lets the extended headers override the entry's own.
    pub(super) fn merge(self, entry: &mut Entry) -> Result<Option<sparse::Keys>, Fault> {
        let records = self.records;
        if let Some(path) = records.path {
            entry.path = path;
        }
        if let Some(link) = records.link {
            entry.link = link;
        }
        if let Some(name) = self.long_name {
            entry.path = name;
        }
        if let Some(link) = self.long_link {
            entry.link = link;
        }
        entry.size = records.size.unwrap_or(entry.size);
        entry.uid = records.uid.unwrap_or(entry.uid);
        entry.gid = records.gid.unwrap_or(entry.gid);
        entry.mtime = records.mtime.unwrap_or(entry.mtime);
        entry.xattrs = records.xattrs;
        let mut keys = records.sparse;
        if let Some(name) = keys.name.take() {
            entry.path = name;
        }
        keys.is_sparse().map(|sparse| sparse.then_some(keys))
    }
}

impl Records {
    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), Fault> {
        if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
            if name.is_empty() || name.contains(&0) {
                return Err(BAD);
            }
            self.xattrs.retain(|(n, _)| n != name);
            self.xattrs.push((name.to_owned(), value.to_owned()));
            return Ok(());
        }
        // An empty value takes an earlier one back.
        let given = !value.is_empty();
        match key {
            b"path" => self.path = given.then(|| name(value)).transpose()?,
            b"linkpath" => self.link = given.then(|| name(value)).transpose()?,
            b"size" => self.size = given.then(|| decimal(value)).transpose()?,
            b"uid" => self.uid = given.then(|| id(value)).transpose()?,
            b"gid" => self.gid = given.then(|| id(value)).transpose()?,
            b"mtime" => self.mtime = given.then(|| time(value)).transpose()?,
            _ => {
                if let Some(key) = key.strip_prefix(b"GNU.sparse.") {
                    self.sparse.take(key, value)?;
                }
            }
        }
        Ok(())
    }
}

fn name(value: &[u8]) -> Result<Vec<u8>, Fault> {
    if value.contains(&0) {
        return Err(BAD);
    }
    Ok(value.to_owned())
}

fn id(value: &[u8]) -> Result<u32, Fault> {
    u32::try_from(decimal(value)?).map_err(|_| Fault::Malformed("an owner is out of range"))
}

/// Decimal digits and nothing else, up to `i64::MAX`.
pub(super) fn decimal(digits: &[u8]) -> Result<u64, Fault> {
    if digits.is_empty() || digits.len() > 19 || !digits.iter().all(u8::is_ascii_digit) {
        return Err(BAD);
    }
    let value = digits.iter().fold(0u64, |sum, &d| sum * 10 + u64::from(d - b'0'));
    if value > i64::MAX.cast_unsigned() {
        return Err(BAD);
    }
    Ok(value)
}

/// `[-]SECONDS[.FRACTION]`.
fn time(value: &[u8]) -> Result<Time, Fault> {
    let (negative, digits) = match value.strip_prefix(b"-") {
        Some(digits) => (true, digits),
        None => (false, value),
    };
    let (whole, fraction) = match digits.iter().position(|&b| b == b'.') {
        Some(at) => (&digits[..at], &digits[at + 1..]),
        None => (digits, &[][..]),
    };
    if !fraction.iter().all(u8::is_ascii_digit) {
        return Err(BAD);
    }
    let whole = decimal(whole)?.cast_signed();
    let nanos = (0..9).fold(0u32, |sum, at| {
        sum * 10 + fraction.get(at).map_or(0, |&d| u32::from(d - b'0'))
    });
    Ok(match (negative, nanos) {
        (false, _) => Time { seconds: whole, nanos },
        (true, 0) => Time { seconds: -whole, nanos },
        // Nanoseconds count forward from the second before.
        (true, _) => Time {
            seconds: -whole - 1,
            nanos: 1_000_000_000 - nanos,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_count_forward() {
        let check = |text: &str, expected: Option<(i64, u32)>| {
            let got = time(text.as_bytes()).ok().map(|t| (t.seconds, t.nanos));
            assert_eq!(got, expected, "{text}");
        };
        check("1", Some((1, 0)));
        check("1.5", Some((1, 500_000_000)));
        check("1.0000000019", Some((1, 1)));
        check("-1.25", Some((-2, 750_000_000)));
        check("-3", Some((-3, 0)));
        check("9223372036854775808", None);
        check("", None);
        check("1.x", None);
        check("--1", None);
    }

    #[test]
    fn records_have_their_length() {
        let check = |bytes: &[u8], good: bool| {
            assert_eq!(Extended::default().replace_records(bytes).is_ok(), good, "{bytes:?}");
        };
        check(b"10 size=5\n", true);
        check(b"11 size=5\n", false);
        check(b"9 size=5\n\n", false);
        check(b"0 size=5\n", false);
        check(b"2 ", false);
        check(b"3 \n", false);
        check(b"99999999999999999999 a=b\n", false);
        check(b"12 size=-5x\n", false);
        check(b"12 path=a\0b\n", false);
        check(b"", true);
    }
}
