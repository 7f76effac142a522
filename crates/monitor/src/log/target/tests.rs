use std::io::{BufRead, BufReader, Read};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::PathBuf;

use super::super::plan::{JournaldPlan, SyslogFormat, SyslogPlan};
use super::super::{Log, LogPlan, Stream};
use super::*;

fn syslog(addresses: Vec<SyslogAddress>) -> LogPlan {
    LogPlan {
        target: Some(LogTarget::Syslog(SyslogPlan {
            addresses,
            facility: 3,
            format: SyslogFormat::Rfc5424,
            tag: "web".to_owned(),
            hostname: "vm".to_owned(),
        })),
        ..LogPlan::default()
    }
}

/// The text of a message in the form of RFC 5424.
fn text(message: &[u8]) -> String {
    let message = std::str::from_utf8(message).unwrap();
    assert!(message.ends_with('\n'), "{message}");
    let (head, text) = message.trim_end().split_once(" - ").unwrap();
    assert!(head.starts_with("<30>1 2") || head.starts_with("<27>1 2"), "{head}");
    assert!(head.contains(" vm web ") && head.ends_with(" web"), "{head}");
    text.to_owned()
}

#[test]
fn datagrams_and_streams_carry_messages() {
    let folder = tempfile::tempdir().unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let gram_path = folder.path().join("gram");
    let gram = UnixDatagram::bind(&gram_path).unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let unix_path = folder.path().join("unix");
    let unix = UnixListener::bind(&unix_path).unwrap();
    let write = |address| {
        let mut log = Log::open(&syslog(vec![address])).unwrap();
        log.write(Stream::Stdout, b"one\ntw");
        log.write(Stream::Stderr, b"err\n");
        log.write(Stream::Stdout, b"o\nend");
        log.finish();
    };
    let expected = ["one", "err", "two", "end"];
    let mut buffer = [0; 1000];

    write(SyslogAddress::Udp(udp.local_addr().unwrap()));
    let got: Vec<_> = (0..4)
        .map(|_| udp.recv(&mut buffer).map(|n| text(&buffer[..n])).unwrap())
        .collect();
    assert_eq!(got, expected);
    write(SyslogAddress::Unixgram(gram_path));
    let got: Vec<_> = (0..4)
        .map(|_| gram.recv(&mut buffer).map(|n| text(&buffer[..n])).unwrap())
        .collect();
    assert_eq!(got, expected);
    write(SyslogAddress::Tcp(tcp.local_addr().unwrap()));
    let lines = BufReader::new(tcp.accept().unwrap().0).lines();
    let got: Vec<_> = lines
        .map(|line| text(format!("{}\n", line.unwrap()).as_bytes()))
        .collect();
    assert_eq!(got, expected);
    write(SyslogAddress::Unix(unix_path));
    let lines = BufReader::new(unix.accept().unwrap().0).lines();
    let got: Vec<_> = lines
        .map(|line| text(format!("{}\n", line.unwrap()).as_bytes()))
        .collect();
    assert_eq!(got, expected);
}

#[test]
fn the_first_that_answers_is_taken_and_nobody_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gram");
    let gone = SyslogAddress::Unix(folder.path().join("gone"));
    let error = Log::open(&syslog(vec![gone.clone()])).unwrap_err();
    let words = format!(
        "failed to initialize logging driver: unix://{}: no such file or directory",
        folder.path().join("gone").display()
    );
    assert_eq!(error.to_string(), words);
    let gram = UnixDatagram::bind(&path).unwrap();
    let mut log = Log::open(&syslog(vec![gone, SyslogAddress::Unixgram(path)])).unwrap();
    log.write(Stream::Stdout, b"a\n");
    let mut buffer = [0; 1000];
    let length = gram.recv(&mut buffer).unwrap();
    assert_eq!(text(&buffer[..length]), "a");
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = Log::open(&syslog(vec![SyslogAddress::Tcp(free)])).unwrap_err();
    assert_eq!(error.kind(), hull_spec::ErrorKind::Unavailable);
    assert!(
        error
            .to_string()
            .ends_with(&format!("tcp://{free}: connection refused")),
        "{error}"
    );
}

/// What a server that reads nothing at first gets in the end.
fn slow(buffer: Option<usize>, lines: usize) -> (bool, Vec<String>) {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut plan = syslog(vec![SyslogAddress::Tcp(tcp.local_addr().unwrap())]);
    plan.buffer = buffer;
    let mut log = Log::open(&plan).unwrap();
    let (server, _) = tcp.accept().unwrap();
    let mut congested = false;
    let long = "x".repeat(1000);
    let mut written = 0;
    while written < lines && !congested {
        log.write(Stream::Stdout, format!("{written} {long}\n").as_bytes());
        written += 1;
        congested = log.is_congested();
    }
    assert!(log.waits_for().is_some());
    let reader = std::thread::spawn(move || BufReader::new(server).lines().map(Result::unwrap).collect::<Vec<_>>());
    log.finish();
    drop(log);
    let got = reader.join().unwrap();
    for (n, line) in got
        .iter()
        .enumerate()
        .take(written)
        .take_while(|(_, line)| !line.contains("hull:"))
    {
        assert!(line.contains(&format!(" - {n} xxx")), "{n}: {line:.100}");
    }
    (congested, got)
}

#[test]
fn a_slow_server_makes_the_container_wait_or_loses_messages_as_asked() {
    // More than the socket's buffers take.
    let lines = 20_000;
    let (congested, got) = slow(None, lines);
    assert!(congested && got.len() < lines);
    assert!(got.iter().all(|line| !line.contains("hull:")));
    let (congested, got) = slow(Some(100_000), lines);
    assert!(!congested);
    // The server's buffers may have taken some in between: there is a note for each gap.
    let notes = got
        .iter()
        .filter_map(|line| line.split_once("hull: "))
        .map(|(_, note)| note);
    let lost: Vec<usize> = notes
        .map(|note| note.split(' ').next().unwrap().parse().unwrap())
        .collect();
    assert!(!lost.is_empty());
    assert_eq!(lost.iter().sum::<usize>() + got.len() - lost.len(), lines, "{lost:?}");
}

#[test]
fn a_server_that_comes_again_gets_what_waited() {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = tcp.local_addr().unwrap();
    let mut log = Log::open(&syslog(vec![SyslogAddress::Tcp(address)])).unwrap();
    log.write(Stream::Stdout, b"0\n");
    let (mut server, _) = tcp.accept().unwrap();
    let mut buffer = [0; 200];
    let length = server.read(&mut buffer).unwrap();
    assert_eq!(text(&buffer[..length]), "0");
    drop((server, tcp));
    // The first is lost on its way: TCP says so only to the next.
    for n in 1..20 {
        log.write(Stream::Stdout, format!("{n}\n").as_bytes());
        assert!(!log.is_congested());
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(log.patience().is_some());
    let tcp = TcpListener::bind(address).unwrap();
    let server = std::thread::spawn(move || BufReader::new(tcp.accept().unwrap().0).lines().count());
    hull_testkit::wait::until("the server is found", || {
        log.pump();
        (log.patience().is_none() && log.waits_for().is_none()).then_some(())
    });
    drop(log);
    assert!(server.join().unwrap() >= 17);
}

fn fields(mut entry: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut fields = Vec::new();
    while !entry.is_empty() {
        let end = entry.iter().position(|b| matches!(b, b'=' | b'\n')).unwrap();
        let name = String::from_utf8(entry[..end].to_vec()).unwrap();
        let (value, rest) = if entry[end] == b'=' {
            let length = entry[end + 1..].iter().position(|&b| b == b'\n').unwrap();
            (&entry[end + 1..=end + length], &entry[end + 1 + length..])
        } else {
            let length = u64::from_le_bytes(entry[end + 1..end + 9].try_into().unwrap()) as usize;
            entry[end + 9..].split_at(length)
        };
        fields.push((name, value.to_vec()));
        entry = rest.strip_prefix(b"\n").unwrap();
    }
    fields
}

fn journal(folder: &Path, label: &str) -> (UnixDatagram, LogPlan) {
    let socket: PathBuf = folder.join("journal");
    let _ = std::fs::remove_file(&socket);
    let journal = UnixDatagram::bind(&socket).unwrap();
    let fields = [("CONTAINER_NAME", "web"), ("LABEL", label)];
    let plan = LogPlan {
        target: Some(LogTarget::Journald(JournaldPlan {
            socket,
            fields: fields.map(|(n, v)| (n.to_owned(), v.to_owned())).into(),
        })),
        ..LogPlan::default()
    };
    (journal, plan)
}

#[test]
fn the_journal_gets_fields() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, plan) = journal(folder.path(), "two\nlines");
    let mut log = Log::open(&plan).unwrap();
    log.write(Stream::Stderr, b"\xff=a\n");
    log.write(Stream::Stdout, &[&[b'x'; 20_000][..], b"\n"].concat());
    let mut buffer = vec![0; 40_000];
    let mut entry = || {
        let length = journal.recv(&mut buffer).unwrap();
        fields(&buffer[..length])
    };
    let value = |entry: &[(String, Vec<u8>)], name: &str| {
        let mut values = entry.iter().filter(|(n, _)| n == name).map(|(_, v)| v.clone());
        let value = values.next().unwrap_or_default();
        assert!(values.next().is_none());
        value
    };
    let first = entry();
    for (name, expected) in [
        ("MESSAGE", &b"\xff=a"[..]),
        ("PRIORITY", b"3"),
        ("CONTAINER_NAME", b"web"),
        ("LABEL", b"two\nlines"),
        ("CONTAINER_LOG_ORDINAL", b"1"),
        ("CONTAINER_PARTIAL_MESSAGE", b""),
    ] {
        assert_eq!(value(&first, name), expected, "{name}");
    }
    assert_eq!(value(&first, "CONTAINER_LOG_EPOCH").len(), 32);
    let parts = [entry(), entry()];
    assert_eq!(value(&parts[0], "PRIORITY"), b"6");
    assert_eq!(value(&parts[0], "MESSAGE").len(), 16 << 10);
    assert_eq!(value(&parts[1], "MESSAGE").len(), 20_000 - (16 << 10));
    for (name, one, two) in [
        ("CONTAINER_PARTIAL_MESSAGE", "true", ""),
        ("CONTAINER_PARTIAL_LAST", "false", "true"),
        ("CONTAINER_PARTIAL_ORDINAL", "1", "2"),
    ] {
        assert_eq!(value(&parts[0], name), one.as_bytes(), "{name}");
        assert_eq!(value(&parts[1], name), two.as_bytes(), "{name}");
    }
    for same in ["CONTAINER_PARTIAL_ID", "SYSLOG_TIMESTAMP"] {
        assert_eq!(value(&parts[0], same), value(&parts[1], same));
        assert!(!value(&parts[0], same).is_empty());
    }
}

#[test]
fn what_is_too_large_for_a_datagram_comes_in_a_file() {
    use std::mem::MaybeUninit;

    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
    let folder = tempfile::tempdir().unwrap();
    let (journal, plan) = journal(folder.path(), &"l".repeat(1 << 20));
    let mut log = Log::open(&plan).unwrap();
    log.write(Stream::Stdout, b"a\n");
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    recvmsg(&journal, &mut [], &mut ancillary, RecvFlags::DONTWAIT).unwrap();
    let Some(RecvAncillaryMessage::ScmRights(mut files)) = ancillary.drain().next() else {
        panic!("no file came");
    };
    let mut file = std::fs::File::from(files.next().unwrap());
    let mut entry = Vec::new();
    std::io::Seek::rewind(&mut file).unwrap();
    file.read_to_end(&mut entry).unwrap();
    let fields = fields(&entry);
    assert!(fields.iter().any(|(name, value)| name == "MESSAGE" && value == b"a"));
    assert!(
        fields
            .iter()
            .any(|(name, value)| name == "LABEL" && value.len() == 1 << 20)
    );
}

#[test]
fn no_journal_is_an_error_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, plan) = journal(folder.path(), "");
    drop(journal);
    std::fs::remove_file(folder.path().join("journal")).unwrap();
    let error = Log::open(&plan).unwrap_err().to_string();
    assert!(error.starts_with("failed to initialize logging driver: journald is not enabled on this host: "));
}

#[test]
fn the_journal_that_was_started_anew_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let (old, plan) = journal(folder.path(), "");
    let mut log = Log::open(&plan).unwrap();
    drop(old);
    let (new, _) = journal(folder.path(), "");
    log.write(Stream::Stdout, b"a\n");
    hull_testkit::wait::until("the new journal is found", || {
        log.pump();
        (log.waits_for().is_none() && log.patience().is_none()).then_some(())
    });
    new.set_nonblocking(true).unwrap();
    let mut buffer = [0; 1000];
    let length = new.recv(&mut buffer).unwrap();
    assert!(
        fields(&buffer[..length])
            .iter()
            .any(|(name, value)| name == "MESSAGE" && value == b"a")
    );
}

#[test]
fn another_program_image_goes_on_within_the_connection() {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let plan = syslog(vec![SyslogAddress::Tcp(tcp.local_addr().unwrap())]);
    let mut log = Log::open(&plan).unwrap();
    let (server, _) = tcp.accept().unwrap();
    let long = "x".repeat(1000);
    let mut written = 0;
    while !log.is_congested() {
        log.write(Stream::Stdout, format!("{written} {long}\n").as_bytes());
        written += 1;
    }
    let held = log.held();
    hull_sys::exec::keep_on_exec(held.descriptor().unwrap(), true).unwrap();
    let held = serde_json::to_vec(&held).unwrap();
    // As a program that is executed anew: nothing is closed.
    std::mem::forget(log);
    let mut log = Log::resume(&plan, serde_json::from_slice(&held).unwrap()).unwrap();
    let reader = std::thread::spawn(move || BufReader::new(server).lines().map(Result::unwrap).collect::<Vec<_>>());
    log.write(Stream::Stdout, b"end\n");
    log.finish();
    drop(log);
    let got = reader.join().unwrap();
    assert_eq!(got.len(), written + 1);
    for (n, line) in got.iter().take(written).enumerate() {
        assert!(
            line.contains(&format!(" - {n} xxx")) && line.ends_with("xx"),
            "{n}: {line:.100}"
        );
    }
    assert!(got[written].ends_with(" - end"));
}

#[test]
fn a_log_is_taken_over_though_nobody_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let mut plan = syslog(vec![SyslogAddress::Unix(folder.path().join("gone"))]);
    plan.file = Some(super::super::LogFile {
        path: folder.path().join("no/such/log"),
        form: super::super::LogForm::Local,
        max_size: None,
        max_files: 1,
        compress: false,
        attributes: Default::default(),
    });
    let mut log = Log::resume(&plan, Default::default()).unwrap();
    log.write(Stream::Stdout, b"a\n");
    assert!(log.patience().is_some());
    std::fs::create_dir_all(folder.path().join("no/such")).unwrap();
    let server = UnixListener::bind(folder.path().join("gone")).unwrap();
    log.write(Stream::Stdout, b"b\n");
    hull_testkit::wait::until("the server is found", || {
        log.pump();
        (log.patience().is_none() && log.waits_for().is_none()).then_some(())
    });
    drop(log);
    assert_eq!(BufReader::new(server.accept().unwrap().0).lines().count(), 2);
    let text = std::fs::read_to_string(folder.path().join("no/such/log")).unwrap();
    assert_eq!(text.lines().map(|line| &line[23..]).collect::<Vec<_>>(), ["a", "b"]);
}
