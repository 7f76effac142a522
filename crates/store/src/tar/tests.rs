use proptest::prelude::*;

use super::*;

/// A header whose checksum is right, with what `fill` does to it.
fn header(kind: u8, path: &str, size: u64, fill: impl FnOnce(&mut [u8; BLOCK])) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    block[..path.len()].copy_from_slice(path.as_bytes());
    block[100..107].copy_from_slice(b"0000644");
    block[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
    block[156] = kind;
    block[257..265].copy_from_slice(b"ustar\x0000");
    fill(&mut block);
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|&b| u32::from(b)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    block
}

fn padded(data: &[u8]) -> Vec<u8> {
    let mut out = data.to_vec();
    out.resize(data.len().next_multiple_of(BLOCK), 0);
    out
}

fn record(key: &str, value: &str) -> String {
    let rest = format!(" {key}={value}\n");
    let mut length = rest.len() + 1;
    while length != rest.len() + length.to_string().len() {
        length = rest.len() + length.to_string().len();
    }
    format!("{length}{rest}")
}

fn pax(records: &[(&str, &str)]) -> Vec<u8> {
    let text: String = records.iter().map(|(k, v)| record(k, v)).collect();
    let mut out = header(b'x', "pax", text.len() as u64, |_| {}).to_vec();
    out.extend(padded(text.as_bytes()));
    out
}

/// Reads an archive whole: each entry with its data, or the first complaint.
fn read(bytes: &[u8], buffer: usize) -> Result<Vec<(Entry, Vec<u8>)>, String> {
    let mut reader = Reader::new(io::BufReader::with_capacity(buffer, bytes));
    let mut out = Vec::new();
    let mut entry = Entry::default();
    let text = |fault| match fault {
        Fault::Malformed(reason) => reason.to_owned(),
        Fault::Input(error) => error.to_string(),
    };
    while reader.next(&mut entry).map_err(text)? {
        let mut data = Vec::new();
        loop {
            let bytes = reader.data().map_err(text)?;
            let count = bytes.len();
            if count == 0 {
                break;
            }
            data.extend_from_slice(bytes);
            reader.consume(count);
        }
        out.push((entry.clone(), data));
    }
    Ok(out)
}

fn names(bytes: &[u8]) -> Result<Vec<String>, String> {
    Ok(read(bytes, 4096)?
        .into_iter()
        .map(|(e, _)| String::from_utf8(e.path).unwrap())
        .collect())
}

fn concat(parts: &[&[u8]]) -> Vec<u8> {
    let mut out = parts.concat();
    out.extend([0; 2 * BLOCK]);
    out
}

/// CVE-2025-62518: the file's data holds an archive of its own; its ustar header claims no data, its PAX header all of
/// it. A reader that skips by the wrong one finds the inner entries.
#[test]
fn the_pax_size_counts_for_the_data_and_for_the_next_header() {
    let inner = concat(&[&header(b'0', "smuggled", 0, |_| {})]);
    let archive = concat(&[
        &pax(&[("size", &inner.len().to_string())]),
        &header(b'0', "outer", 0, |_| {}),
        &inner,
        &header(b'0', "after", 0, |_| {}),
    ]);
    let entries = read(&archive, 4096).unwrap();
    assert_eq!(entries.len(), 2);
    assert_eq!((&entries[0].0.path[..], &entries[0].1), (&b"outer"[..], &inner));
    assert_eq!(entries[1].0.path, b"after");
}

#[test]
fn a_size_counts_only_for_files() {
    let archive = concat(&[
        &pax(&[("size", "1024")]),
        &header(b'5', "dir/", 512, |_| {}),
        &header(b'2', "link", 700, |b| b[157] = b'x'),
        &header(b'0', "file", 0, |_| {}),
    ]);
    assert_eq!(names(&archive).unwrap(), ["dir/", "link", "file"]);
}

#[test]
fn malformed_archives_are_refused() {
    let check = |archive: &[u8], expected: &str| {
        let error = read(archive, 4096).unwrap_err();
        assert!(error.contains(expected), "{error:?} does not say {expected:?}");
    };
    let file = header(b'0', "f", 5, |_| {});
    check(&concat(&[&header(b'0', "", 0, |_| {})]), "empty");
    check(&concat(&[&header(b'2', "l", 0, |_| {})]), "no target");
    check(&concat(&[&header(b'Z', "z", 0, |_| {})]), "unknown type");
    check(&concat(&[&header(b'M', "m", 0, |_| {})]), "unknown type");
    check(&concat(&[&pax(&[("path", "x")])]), "no entry after it");
    check(
        &concat(&[&header(b'L', "l", 2 << 20, |_| {})]),
        "larger than a mebibyte",
    );
    check(
        &concat(&[&header(b'0', "f", 0, |b| b[124..136].fill(0xff))]),
        "negative",
    );
    check(
        &concat(&[&header(b'0', "f", 0, |b| b[108..116].fill(0xff))]),
        "out of range",
    );
    check(
        &concat(&[&pax(&[("uid", "4294967296")]), &file, &padded(b"12345")]),
        "out of range",
    );
    check(
        &concat(&[&pax(&[("size", "-1")]), &file, &padded(b"12345")]),
        "PAX record",
    );
    check(
        &concat(&[&pax(&[("path", "a\0b")]), &file, &padded(b"12345")]),
        "PAX record",
    );
    check(&file, "ends inside a file");
    check(&[&file[..], b"123"].concat(), "ends inside a file");
    check(&file[..100], "ends inside a header");
    let mut sum = file;
    sum[0] = b'g';
    check(&concat(&[&sum, &padded(b"12345")]), "checksum");
    check(
        &[&[0; BLOCK][..], &file, &padded(b"12345")].concat(),
        "single block of zeros",
    );
    check(b"<html>404</html>", "ends inside a header");
    check(&[b'x'; BLOCK], "malformed");
}

#[test]
fn an_end_may_be_missing_or_be_followed_by_anything() {
    let file = [&header(b'0', "f", 5, |_| {})[..], &padded(b"12345")].concat();
    assert_eq!(names(&file).unwrap(), ["f"]);
    let mut long = concat(&[&file]);
    long.extend(b"garbage");
    assert_eq!(names(&long).unwrap(), ["f"]);
    assert_eq!(names(b"").unwrap(), [""; 0]);
    assert_eq!(names(&[0; 1024]).unwrap(), [""; 0]);
}

#[test]
fn later_headers_override_earlier_ones() {
    let long = "n".repeat(200);
    let archive = concat(&[
        &header(b'g', "global", 20, |_| {}),
        &padded(record("path", "nothing").as_bytes()),
        &pax(&[("path", "first")]),
        &pax(&[("mtime", "-1.5"), ("SCHILY.xattr.user.a", "x\0y=z"), ("uid", "70000")]),
        &header(b'L', "long", 201, |_| {}),
        &padded(format!("{long}\0").as_bytes()),
        &header(b'0', "short", 0, |_| {}),
    ]);
    let entries = read(&archive, 4096).unwrap();
    let entry = &entries[0].0;
    assert_eq!((entries.len(), &entry.path[..]), (1, long.as_bytes()));
    assert_eq!(
        (entry.uid, entry.mtime),
        (
            70000,
            Time {
                seconds: -2,
                nanos: 500_000_000
            }
        )
    );
    assert_eq!(entry.xattrs, [(b"user.a".to_vec(), b"x\0y=z".to_vec())]);
}

#[test]
fn all_sparse_forms_mean_the_same() {
    let data = [[b'a'; BLOCK], [b'b'; BLOCK]].concat();
    let size = (BLOCK * 8).to_string();
    let map = "2\n512\n512\n2048\n512\n";
    let forms = [
        concat(&[
            &header(b'S', "f", 1024, |b| {
                b[257..265].copy_from_slice(b"ustar  \0");
                for (at, n) in [512, 512, 2048, 512].into_iter().enumerate() {
                    b[386 + at * 12..][..11].copy_from_slice(format!("{n:011o}").as_bytes());
                }
                b[483..494].copy_from_slice(format!("{:011o}", BLOCK * 8).as_bytes());
            }),
            &data,
        ]),
        concat(&[
            &pax(&[
                ("GNU.sparse.size", &size),
                ("GNU.sparse.numblocks", "2"),
                ("GNU.sparse.offset", "512"),
                ("GNU.sparse.numbytes", "512"),
                ("GNU.sparse.offset", "2048"),
                ("GNU.sparse.numbytes", "512"),
            ]),
            &header(b'0', "f", 1024, |_| {}),
            &data,
        ]),
        concat(&[
            &pax(&[
                ("GNU.sparse.size", &size),
                ("GNU.sparse.name", "f"),
                ("GNU.sparse.map", "512,512,2048,512"),
            ]),
            &header(b'0', "GNUSparseFile.0/f", 1024, |_| {}),
            &data,
        ]),
        concat(&[
            &pax(&[
                ("GNU.sparse.major", "1"),
                ("GNU.sparse.minor", "0"),
                ("GNU.sparse.name", "f"),
                ("GNU.sparse.realsize", &size),
            ]),
            &header(b'0', "GNUSparseFile.0/f", 1536, |_| {}),
            &padded(map.as_bytes()),
            &data,
        ]),
    ];
    for (number, form) in forms.iter().enumerate() {
        let entries = read(form, 4096).unwrap_or_else(|e| panic!("form {number}: {e}"));
        let (entry, got) = &entries[0];
        let extents: Vec<_> = entry.sparse.iter().flatten().map(|e| (e.offset, e.length)).collect();
        assert_eq!((&entry.path[..], entry.size), (&b"f"[..], 4096), "form {number}");
        assert_eq!(
            (&extents[..], got),
            (&[(512, 512), (2048, 512)][..], &data),
            "form {number}"
        );
    }
}

#[test]
fn sparse_maps_that_lie_are_refused() {
    let check = |map: &str, size: &str| {
        let archive = concat(&[
            &pax(&[("GNU.sparse.size", size), ("GNU.sparse.map", map)]),
            &header(b'0', "f", 512, |_| {}),
            &[1; BLOCK],
        ]);
        assert!(read(&archive, 4096).is_err(), "{map} of {size}");
    };
    check("0,511", "4096");
    check("0,513", "4096");
    check("0,512", "100");
    check("512,256,0,256", "4096");
    check("0,256,128,256", "4096");
    check("9223372036854775807,512", "9223372036854775807");
    check("0,512,1", "4096");
    check("x", "4096");
}

/// The reader agrees with another implementation on what that one writes.
#[test]
fn what_the_tar_crate_writes_is_read_back() {
    let mut builder = ::tar::Builder::new(Vec::new());
    let long = format!("{}/{}", "d".repeat(90), "f".repeat(150));
    for (path, data) in [("a", &b"one"[..]), (&long, &[7; 100_000])] {
        let mut header = ::tar::Header::new_gnu();
        header.set_size(data.len() as u64);
        header.set_mode(0o4755);
        header.set_uid(3_000_000);
        header.set_mtime(1_700_000_000);
        builder.append_data(&mut header, path, data).unwrap();
    }
    let entries = read(&builder.into_inner().unwrap(), 700).unwrap();
    assert_eq!(entries.len(), 2);
    assert_eq!((&entries[1].0.path[..], entries[1].1.len()), (long.as_bytes(), 100_000));
    let first = &entries[0].0;
    assert_eq!(
        (first.mode, first.uid, first.mtime.seconds),
        (0o4755, 3_000_000, 1_700_000_000)
    );
}

fn any_part() -> impl Strategy<Value = Vec<u8>> {
    let name = "[a-z./]{0,20}";
    prop_oneof![
        (name, 0u64..3000, any::<u8>()).prop_map(|(path, size, kind)| {
            header(kind, &path, size, |b| b[157..160].copy_from_slice(b"a/b")).to_vec()
        }),
        (name, name).prop_map(|(key, value)| pax(&[(&key, &value)])),
        (
            "(path|size|uid|mtime|GNU.sparse.(map|major|size|offset))",
            "[0-9,./a]{0,12}"
        )
            .prop_map(|(key, value)| pax(&[(&key, &value)])),
        proptest::collection::vec(any::<u8>(), 0..1500).prop_map(|b| padded(&b)),
    ]
}

proptest! {
    /// Whatever the bytes, the reader ends without a panic, and how they arrive makes no difference.
    #[test]
    fn any_bytes_are_read_or_refused(parts in proptest::collection::vec(any_part(), 0..8), buffer in 1usize..2000) {
        let archive = parts.concat();
        prop_assert_eq!(read(&archive, buffer), read(&archive, 1 << 16));
    }

    #[test]
    fn a_flipped_bit_is_harmless(at in 0usize..4096, bit in 0u8..8) {
        let mut archive = concat(&[
            &pax(&[("path", "a/long/name"), ("SCHILY.xattr.user.x", "y")]),
            &header(b'0', "short", 700, |_| {}),
            &padded(&[5; 700]),
            &header(b'1', "link", 0, |b| b[157] = b'a'),
        ]);
        let length = archive.len();
        archive[at % length] ^= 1 << bit;
        let _ = read(&archive, 512);
    }
}
