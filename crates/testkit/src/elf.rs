//! The two facts about a program file that decide whether it runs on a bare machine (ELF-64, elf(5)).

use std::path::Path;

/// What an ELF file asks of the machine that runs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elf {
    /// The program interpreter (`PT_INTERP`), such as `/lib64/ld-linux-x86-64.so.2`. A static program has none.
    pub interpreter: Option<String>,
    /// Whether it may be loaded at any address (`ET_DYN`): a static-pie, where there is no interpreter.
    pub position_independent: bool,
}

/// Reads the headers of the little-endian 64-bit ELF file at `path`; `None` where it is something else.
///
/// # Errors
/// If the file cannot be read.
pub fn read(path: &Path) -> std::io::Result<Option<Elf>> {
    Ok(parse(&std::fs::read(path)?))
}

fn parse(bytes: &[u8]) -> Option<Elf> {
    if !bytes.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let half = |at: usize| Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    let word = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let long = |at: usize| usize::try_from(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?)).ok();
    let (kind, table, entry, count) = (half(16)?, long(32)?, usize::from(half(54)?), usize::from(half(56)?));
    let mut interpreter = None;
    for index in 0..count {
        let header = table + index * entry;
        if word(header)? == 3 {
            let (offset, size) = (long(header + 8)?, long(header + 32)?);
            let name = bytes.get(offset..offset.checked_add(size)?)?;
            interpreter = Some(String::from_utf8_lossy(name).trim_end_matches('\0').to_owned());
        }
    }
    Some(Elf {
        interpreter,
        position_independent: kind == 3,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_a_dynamic_program_from_this_static_test() {
        let own = read(&std::env::current_exe().unwrap()).unwrap().unwrap();
        assert_eq!(
            own,
            Elf {
                interpreter: None,
                position_independent: true
            }
        );
        let shell = read(Path::new("/bin/sh")).unwrap().unwrap();
        assert!(
            shell.interpreter.unwrap().contains("ld-"),
            "the host's shell is linked dynamically"
        );
        assert_eq!(parse(b"#!/bin/sh\n"), None);
        assert_eq!(parse(b"\x7fELF\x02\x01 cut short"), None);
    }
}
