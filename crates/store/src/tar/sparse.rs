//! Where the data of sparse files lies: the old GNU headers and PAX formats 0.0, 0.1 and 1.0
//! (GNU tar manual, "Sparse Formats").

use super::header::{Format, Header, number};
use super::pax::decimal;
use super::{BLOCK, Fault};

const BAD: Fault = Fault::Malformed("a sparse map is malformed");
/// 4 MB of memory; a file of this many holes is no file of an image.
const EXTENTS_MAX: usize = 1 << 18;

/// A stretch of data in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Its first byte.
    pub offset: u64,
    /// Its bytes.
    pub length: u64,
}

/// A map as it was read.
#[derive(Debug)]
pub(super) struct Map {
    /// Bytes of the file, holes included.
    pub(super) size: u64,
    extents: Vec<Extent>,
}

impl Map {
    /// The extents, if they are in order, apart, inside the file, and use up exactly `stored` bytes.
    pub(super) fn checked(self, stored: u64) -> Result<Vec<Extent>, Fault> {
        let (mut end, mut total) = (0u64, 0u64);
        for extent in &self.extents {
            if extent.offset < end {
                return Err(BAD);
            }
            end = extent.offset.checked_add(extent.length).ok_or(BAD)?;
            total = total.checked_add(extent.length).ok_or(BAD)?;
        }
        if end > self.size || total != stored {
            return Err(BAD);
        }
        Ok(self.extents)
    }

    fn push(&mut self, offset: u64, length: u64) -> Result<(), Fault> {
        if self.extents.len() == EXTENTS_MAX {
            return Err(Fault::Malformed("a sparse map has too many parts"));
        }
        self.extents.push(Extent { offset, length });
        Ok(())
    }
}

/// Reads the map of an old GNU header and of the blocks that continue it.
pub(super) fn gnu(
    header: &Header,
    block: &[u8; BLOCK],
    mut more: impl FnMut() -> Result<[u8; BLOCK], Fault>,
) -> Result<Map, Fault> {
    if header.format != Format::Gnu {
        return Err(BAD);
    }
    let mut map = Map {
        size: u64::try_from(number(&block[483..495])?).map_err(|_| BAD)?,
        extents: Vec::new(),
    };
    let mut extended = block[482] != 0;
    gnu_part(&mut map, &block[386..482])?;
    while extended {
        let block = more()?;
        extended = block[504] != 0;
        gnu_part(&mut map, &block[..504])?;
    }
    Ok(map)
}

fn gnu_part(map: &mut Map, pairs: &[u8]) -> Result<(), Fault> {
    for pair in pairs.chunks_exact(24) {
        if pair[0] == 0 {
            break;
        }
        let offset = u64::try_from(number(&pair[..12])?).map_err(|_| BAD)?;
        let length = u64::try_from(number(&pair[12..])?).map_err(|_| BAD)?;
        map.push(offset, length)?;
    }
    Ok(())
}

/// The `GNU.sparse.*` records of a PAX header.
#[derive(Debug, Default)]
pub(super) struct Keys {
    pub(super) name: Option<Vec<u8>>,
    major: Option<u64>,
    minor: Option<u64>,
    size: Option<u64>,
    map: Option<Vec<u64>>,
    numbers: Vec<u64>,
}

impl Keys {
    pub(super) fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), Fault> {
        match key {
            b"name" if value.is_empty() || value.contains(&0) => return Err(BAD),
            b"name" => self.name = Some(value.to_owned()),
            b"major" => self.major = Some(decimal(value)?),
            b"minor" => self.minor = Some(decimal(value)?),
            b"size" | b"realsize" => self.size = Some(decimal(value)?),
            b"map" if value.is_empty() => self.map = Some(Vec::new()),
            b"map" => self.map = Some(value.split(|&b| b == b',').map(decimal).collect::<Result<_, _>>()?),
            // Format 0.0 repeats these two in turn.
            b"offset" | b"numbytes" => {
                if self.numbers.len().is_multiple_of(2) != (key == b"offset") {
                    return Err(BAD);
                }
                self.numbers.push(decimal(value)?);
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether the records describe a map; formats that are not known here are refused.
    pub(super) fn is_sparse(&self) -> Result<bool, Fault> {
        match (self.major, self.minor) {
            (Some(1), Some(0)) => Ok(true),
            (None | Some(0), None | Some(0 | 1)) => Ok(self.map.is_some() || !self.numbers.is_empty()),
            _ => Err(BAD),
        }
    }
}

/// Makes the map from PAX records; in format 1.0 it stands before the data, in blocks that `more` reads.
pub(super) fn pax(keys: Keys, mut more: impl FnMut() -> Result<[u8; BLOCK], Fault>) -> Result<Map, Fault> {
    let mut map = Map {
        size: keys.size.ok_or(BAD)?,
        extents: Vec::new(),
    };
    if keys.major == Some(1) {
        let mut lines = Lines {
            block: [0; BLOCK],
            at: BLOCK,
            more: &mut more,
        };
        let count = lines.next()?;
        for _ in 0..count {
            let (offset, length) = (lines.next()?, lines.next()?);
            map.push(offset, length)?;
        }
        return Ok(map);
    }
    let numbers = keys.map.unwrap_or(keys.numbers);
    if !numbers.len().is_multiple_of(2) {
        return Err(BAD);
    }
    for pair in numbers.chunks_exact(2) {
        map.push(pair[0], pair[1])?;
    }
    Ok(map)
}

struct Lines<'m, F> {
    block: [u8; BLOCK],
    at: usize,
    more: &'m mut F,
}

impl<F: FnMut() -> Result<[u8; BLOCK], Fault>> Lines<'_, F> {
    fn next(&mut self) -> Result<u64, Fault> {
        let mut digits = Vec::new();
        loop {
            if self.at == BLOCK {
                self.block = (self.more)()?;
                self.at = 0;
            }
            let byte = self.block[self.at];
            self.at += 1;
            match byte {
                b'\n' => return decimal(&digits),
                _ if digits.len() == 19 => return Err(BAD),
                _ => digits.push(byte),
            }
        }
    }
}
