//! The executable with its relocations applied.
//!
//! A static position-independent executable writes its own relocations at its start: with hull's some eighty pages that
//! from then on no two processes share. A process that only starts something and ends does not mind; thousands of
//! monitors would. So the executable is written once more, bound to one random address and with these words in place:
//! the pages of all its processes are then the file's own.

/// What the executable must be like, and is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unfit {
    /// No 64-bit little-endian ELF file of this kind, or one that refers beyond its end.
    #[error("it is no static position-independent executable")]
    Shape,
    /// A loader other than the kernel is needed, or there are words that it would compute.
    #[error("it has relocations that are not relative to its own address")]
    Relocations,
}

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const PT_NOTE: u32 = 4;
const PT_PHDR: u32 = 6;
const ET_EXEC: u16 = 2;
const ET_DYN: u16 = 3;
const DT_RELA: u64 = 7;
const DT_RELASZ: u64 = 8;
const DT_RELRSZ: u64 = 35;
const DT_RELR: u64 = 36;
const DT_RELACOUNT: u64 = 0x6fff_fff9;
const NT_GNU_BUILD_ID: u32 = 3;
const HEADER: usize = 56;
const RELA: usize = 24;

#[cfg(target_arch = "x86_64")]
const RELATIVE: u32 = 8;
#[cfg(target_arch = "aarch64")]
const RELATIVE: u32 = 1027;

/// One program header.
#[derive(Clone, Copy)]
struct Segment {
    /// Where its header is in the file.
    header: usize,
    kind: u32,
    offset: u64,
    address: u64,
    file_size: u64,
}

/// Binds `file`, a static position-independent executable, to the address `base`.
pub(crate) fn prelink(file: &mut [u8], base: u64) -> Result<(), Unfit> {
    let segments = segments(file)?;
    if file.get(16..18) != Some(&ET_DYN.to_le_bytes()) {
        return Err(Unfit::Shape);
    }
    if segments.iter().any(|s| s.kind == PT_INTERP) {
        return Err(Unfit::Relocations);
    }
    let dynamic = *segments.iter().find(|s| s.kind == PT_DYNAMIC).ok_or(Unfit::Shape)?;
    let entries = usize::try_from(dynamic.file_size / 16).map_err(|_| Unfit::Shape)?;
    let start = usize::try_from(dynamic.offset).map_err(|_| Unfit::Shape)?;
    let tag = |file: &[u8], wanted: u64| -> Result<Option<(usize, u64)>, Unfit> {
        for at in (0..entries).map(|n| start + n * 16) {
            match word(file, at)? {
                0 => break,
                found if found == wanted => return Ok(Some((at + 8, word(file, at + 8)?))),
                _ => {}
            }
        }
        Ok(None)
    };
    let packed = match (tag(file, DT_RELR)?, tag(file, DT_RELRSZ)?) {
        (Some((_, table)), Some((size_at, size))) => {
            let table = place(&segments, table)?;
            let size = usize::try_from(size).map_err(|_| Unfit::Shape)?;
            let end = table.checked_add(size).ok_or(Unfit::Shape)?;
            let addresses = unpack(file.get(table..end).ok_or(Unfit::Shape)?);
            put(file, size_at, &0u64.to_le_bytes())?;
            addresses
        }
        (None, None) => Vec::new(),
        _ => return Err(Unfit::Shape),
    };
    for address in packed {
        let target = place(&segments, address)?;
        let value = base.wrapping_add(word(file, target)?);
        put(file, target, &value.to_le_bytes())?;
    }
    let (table_at, table) = tag(file, DT_RELA)?.ok_or(Unfit::Shape)?;
    let (size_at, size) = tag(file, DT_RELASZ)?.ok_or(Unfit::Shape)?;
    // Where there are none in this form, none are counted.
    let counted = tag(file, DT_RELACOUNT)?;
    let count = counted.map_or(0, |(_, count)| count);
    let applied = count
        .checked_mul(RELA as u64)
        .filter(|bytes| *bytes <= size)
        .ok_or(Unfit::Shape)?;
    let first = place(&segments, table)?;
    for at in (0..usize::try_from(count).map_err(|_| Unfit::Shape)?).map(|n| first + n * RELA) {
        let kind = word(file, at + 8)?;
        if kind != u64::from(RELATIVE) {
            return Err(Unfit::Relocations);
        }
        let target = place(&segments, word(file, at)?)?;
        let value = base.wrapping_add(word(file, at + 16)?);
        put(file, target, &value.to_le_bytes())?;
    }
    // What is left are the functions that are chosen by the processor at hand: these the start code still does.
    put(file, table_at, &(table + applied).to_le_bytes())?;
    put(file, size_at, &(size - applied).to_le_bytes())?;
    if let Some((count_at, _)) = counted {
        put(file, count_at, &0u64.to_le_bytes())?;
    }
    // The C library adds the load address, which it finds by looking at where it is, to all other addresses itself.
    for segment in segments.iter().filter(|s| matches!(s.kind, PT_LOAD | PT_PHDR)) {
        let address = base.wrapping_add(segment.address).to_le_bytes();
        put(file, segment.header + 16, &address)?;
        put(file, segment.header + 24, &address)?;
    }
    let entry = base.wrapping_add(word(file, 24)?);
    put(file, 24, &entry.to_le_bytes())?;
    put(file, 16, &ET_EXEC.to_le_bytes())
}

/// The addresses of a table of packed relative relocations (`DT_RELR`): an even word is an address, an odd one a bitmap of
/// the 63 words that follow what the table has come to.
fn unpack(table: &[u8]) -> Vec<u64> {
    let mut out = Vec::new();
    let mut next = 0u64;
    for entry in table.chunks_exact(8) {
        let entry = entry.iter().rev().fold(0u64, |word, byte| word << 8 | u64::from(*byte));
        if entry & 1 == 0 {
            out.push(entry);
            next = entry.wrapping_add(8);
            continue;
        }
        let set = (0..63u64).filter(|bit| entry >> (bit + 1) & 1 == 1);
        out.extend(set.map(|bit| next.wrapping_add(bit * 8)));
        next = next.wrapping_add(63 * 8);
    }
    out
}

/// Cuts off what is not loaded: section headers, symbols, what debuggers read.
pub(crate) fn trim(file: &mut Vec<u8>) -> Result<(), Unfit> {
    let segments = segments(file);
    let end = |s: &Segment| s.offset.saturating_add(s.file_size);
    let end = segments?.iter().map(end).max().unwrap_or_default();
    // The table of sections: its place, then the size of an entry, their number and the one of their names.
    put(file, 40, &0u64.to_le_bytes())?;
    put(file, 58, &[0; 6])?;
    file.truncate(usize::try_from(end).map_err(|_| Unfit::Shape)?);
    Ok(())
}

/// The build's own name: the linker's digest of what it made.
pub(crate) fn build_id(file: &[u8]) -> Option<String> {
    for note in segments(file).ok()?.iter().filter(|s| s.kind == PT_NOTE) {
        let start = usize::try_from(note.offset).ok()?;
        let notes = file.get(start..start.checked_add(usize::try_from(note.file_size).ok()?)?)?;
        let mut at = 0;
        while at + 12 <= notes.len() {
            let field = |n: usize| {
                notes
                    .get(at + n..at + n + 4)
                    .and_then(|b| b.try_into().ok())
                    .map(u32::from_le_bytes)
            };
            let (name, length, kind) = (field(0)? as usize, field(4)? as usize, field(8)?);
            let text = at + 12 + name.next_multiple_of(4);
            if kind == NT_GNU_BUILD_ID && notes.get(at + 12..at + 12 + name) == Some(b"GNU\0") {
                let id = notes.get(text..text.checked_add(length)?)?;
                return Some(id.iter().map(|b| format!("{b:02x}")).collect());
            }
            at = text.checked_add(length.next_multiple_of(4))?;
        }
    }
    None
}

fn segments(file: &[u8]) -> Result<Vec<Segment>, Unfit> {
    let half = |at: usize| {
        file.get(at..at + 2)
            .and_then(|b| b.try_into().ok())
            .map(u16::from_le_bytes)
    };
    let is_ours = file.starts_with(b"\x7fELF\x02\x01") && half(54) == Some(56);
    if !is_ours {
        return Err(Unfit::Shape);
    }
    let table = usize::try_from(word(file, 32)?).map_err(|_| Unfit::Shape)?;
    let count = usize::from(half(56).ok_or(Unfit::Shape)?);
    let segment = |n: usize| -> Result<Segment, Unfit> {
        let header = table.checked_add(n * HEADER).ok_or(Unfit::Shape)?;
        let kind = file.get(header..header + 4).and_then(|b| b.try_into().ok());
        Ok(Segment {
            header,
            kind: kind.map(u32::from_le_bytes).ok_or(Unfit::Shape)?,
            offset: word(file, header + 8)?,
            address: word(file, header + 16)?,
            file_size: word(file, header + 32)?,
        })
    };
    (0..count).map(segment).collect()
}

/// Where in the file the byte is that will be at `address`.
fn place(segments: &[Segment], address: u64) -> Result<usize, Unfit> {
    let inside =
        |s: &&Segment| s.kind == PT_LOAD && address.checked_sub(s.address).is_some_and(|into| into < s.file_size);
    let segment = segments.iter().find(inside).ok_or(Unfit::Shape)?;
    let at = segment
        .offset
        .checked_add(address - segment.address)
        .ok_or(Unfit::Shape)?;
    usize::try_from(at).map_err(|_| Unfit::Shape)
}

fn word(file: &[u8], at: usize) -> Result<u64, Unfit> {
    let end = at.checked_add(8).ok_or(Unfit::Shape)?;
    let bytes = file.get(at..end).and_then(|b| b.try_into().ok()).ok_or(Unfit::Shape)?;
    Ok(u64::from_le_bytes(bytes))
}

fn put(file: &mut [u8], at: usize, bytes: &[u8]) -> Result<(), Unfit> {
    let end = at.checked_add(bytes.len()).ok_or(Unfit::Shape)?;
    file.get_mut(at..end).ok_or(Unfit::Shape)?.copy_from_slice(bytes);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> Vec<u8> {
        std::fs::read("/proc/self/exe").unwrap()
    }

    #[test]
    fn a_bound_copy_of_this_program_runs() {
        use std::os::unix::fs::PermissionsExt;
        let mut file = own();
        let whole = file.len();
        prelink(&mut file, 0x1234_5600_0000).unwrap();
        trim(&mut file).unwrap();
        assert!(file.len() < whole);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bound");
        std::fs::write(&path, &file).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
        let output = std::process::Command::new(&path).arg("--list").output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && text.contains("a_bound_copy_of_this_program_runs"),
            "{output:?}"
        );
    }

    #[test]
    fn packed_relocations_are_unpacked() {
        let check = |words: &[u64], expected: &[u64]| {
            let table: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            assert_eq!(unpack(&table), expected, "{words:x?}");
        };
        check(&[], &[]);
        check(&[0x1000], &[0x1000]);
        check(&[0x1000, 0b1011], &[0x1000, 0x1008, 0x1018]);
        // A bitmap goes on where the one before it has ended.
        check(&[0x1000, 1, 0b11], &[0x1000, 0x1008 + 63 * 8]);
        check(
            &[0x1000, 1 << 63 | 1, 0x9000, 0b101],
            &[0x1000, 0x1008 + 62 * 8, 0x9000, 0x9010],
        );
    }

    #[test]
    fn a_build_has_a_name() {
        let id = build_id(&own()).unwrap();
        assert!(id.len() >= 16 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
        assert_eq!(build_id(b"\x7fELF"), None);
    }

    #[test]
    fn what_cannot_be_bound_is_refused() {
        let file = own();
        assert_eq!(prelink(&mut b"#!/bin/sh\n".to_vec(), 0), Err(Unfit::Shape));
        // Bound already.
        let mut twice = file.clone();
        prelink(&mut twice, 0x1000_0000).unwrap();
        assert_eq!(prelink(&mut twice, 0x1000_0000), Err(Unfit::Shape));
        for length in [0, 6, 40, 64, 200, 400] {
            let mut cut = file[..length].to_vec();
            assert!(prelink(&mut cut, 0x1000_0000).is_err(), "{length}");
        }
    }
}
