//! One connection of a test registry: HTTP/1.1 with keep-alive, as far as registries need it.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::{Reply, Seen, Shared, lock};

/// How much of a body is written at once.
const PIECE: usize = 1 << 10;

/// Answers requests until the peer leaves, or the answer says to break off.
pub(super) fn converse(stream: &TcpStream, shared: &Arc<Shared>) {
    let Ok(address) = stream.local_addr() else {
        return;
    };
    let _ = stream.set_nodelay(true);
    let mut reader = BufReader::new(stream);
    loop {
        let Ok(Some((request, whole))) = read(&mut reader, shared, stream) else {
            return;
        };
        if !whole {
            shared.keep(&request);
            lock(&shared.seen).push(request);
            let _ = stream.shutdown(std::net::Shutdown::Both);
            return;
        }
        let reply = shared.reply(&request, address);
        let sent = Arc::clone(&request.sent);
        let head = request.method == "HEAD";
        let last = request
            .header("connection")
            .is_some_and(|value| value.eq_ignore_ascii_case("close"));
        lock(&shared.seen).push(request);
        // The peer may have left: then there is nobody to tell.
        let counted = reply.body.len() > 2 * PIECE;
        if counted {
            let mut sending = lock(&shared.sending);
            sending.0 += 1;
            sending.1 = sending.1.max(sending.0);
        }
        let open = write(stream, &reply, head, &sent, shared).unwrap_or(false);
        if counted {
            lock(&shared.sending).0 -= 1;
        }
        if !open || last {
            let _ = stream.shutdown(std::net::Shutdown::Both);
            return;
        }
    }
}

/// Reads a request. Also returns whether it was read to its end.
fn read(
    reader: &mut BufReader<&TcpStream>,
    shared: &Shared,
    mut stream: &TcpStream,
) -> io::Result<Option<(Seen, bool)>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.by_ref().take(64 << 10).read_line(&mut line)? == 0 {
            return Ok(None);
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let mut words = lines.first().map(|line| line.split(' ')).into_iter().flatten();
    let (Some(method), Some(path)) = (words.next(), words.next()) else {
        return Ok(None);
    };
    let headers: Vec<(String, String)> = lines[1..]
        .iter()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length: u64 = headers
        .iter()
        .find(|(name, _)| name == "content-length")
        .and_then(|(_, value)| value.parse().ok())
        .unwrap_or(0);
    if headers
        .iter()
        .any(|(name, value)| name == "expect" && value == "100-continue")
    {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    let cut = if length > 0 {
        shared.cut(path).filter(|after| *after < length)
    } else {
        None
    };
    let mut body = Vec::new();
    reader.by_ref().take(cut.unwrap_or(length)).read_to_end(&mut body)?;
    let whole = body.len() as u64 == length;
    let request = Seen {
        method: method.to_owned(),
        path: path.to_owned(),
        headers,
        body: String::from_utf8_lossy(&body).into_owned(),
        bytes: body,
        sent: Arc::default(),
    };
    Ok(Some((request, whole)))
}

/// Returns whether the connection may go on.
fn write(mut stream: &TcpStream, reply: &Reply, head: bool, sent: &AtomicU64, shared: &Shared) -> io::Result<bool> {
    let mut text = format!("HTTP/1.1 {} Test\r\n", reply.status);
    for (name, value) in &reply.headers {
        text += &format!("{name}: {value}\r\n");
    }
    let has_length = reply
        .headers
        .iter()
        .any(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    if reply.status == 204 {
        // Has no body and says nothing of its length.
    } else if reply.chunked {
        text += "Transfer-Encoding: chunked\r\n";
    } else if !has_length {
        text += &format!("Content-Length: {}\r\n", reply.body.len());
    }
    stream.write_all((text + "\r\n").as_bytes())?;
    if head {
        return Ok(true);
    }
    let whole = reply.body.len() as u64;
    let end = [reply.cut, reply.stall.map(|(at, _)| at)]
        .into_iter()
        .flatten()
        .min()
        .unwrap_or(whole);
    let body = &reply.body[..usize::try_from(end.min(whole)).unwrap_or(usize::MAX)];
    // Only pieces that are watched or slowed are small.
    let piece = if reply.slow.is_some() || reply.chunked {
        PIECE
    } else {
        64 * PIECE
    };
    for piece in body.chunks(piece) {
        if let Some(pause) = reply.slow {
            std::thread::sleep(pause);
        }
        if reply.chunked {
            stream.write_all(format!("{:x}\r\n", piece.len()).as_bytes())?;
        }
        stream.write_all(piece)?;
        if reply.chunked {
            stream.write_all(b"\r\n")?;
        }
        sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
    }
    if let Some((_, silence)) = reply.stall {
        silent(silence, shared);
        return Ok(false);
    }
    if end < whole {
        return Ok(false);
    }
    if reply.chunked {
        stream.write_all(b"0\r\n\r\n")?;
    }
    // A length that lies leaves the peer waiting: it must see an end.
    Ok(!has_length)
}

impl Shared {
    /// After how many bytes the body of a request breaks off.
    fn cut(&self, path: &str) -> Option<u64> {
        let mut cuts = lock(&self.cuts);
        let cut = cuts.iter_mut().find(|cut| cut.left > 0 && path.contains(&cut.path))?;
        cut.left -= 1;
        Some(cut.after)
    }
}

fn silent(time: Duration, shared: &Shared) {
    let end = Instant::now() + time;
    while Instant::now() < end && !shared.stop.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(5));
    }
}
