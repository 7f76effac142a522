//! Proxies.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use hull_registry::settings::{Proxy, Registry as Rules};
use hull_testkit::registry::Registry;

use super::{Site, bare};

/// A proxy that leads every `CONNECT` to `target`, and the hosts that were asked for.
pub(super) fn proxy(target: SocketAddr) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&asked);
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let mut lines = BufReader::new(client.try_clone().unwrap())
                .lines()
                .map_while(Result::ok);
            log.lock().unwrap().push(lines.next().unwrap_or_default());
            while lines.next().is_some_and(|line| !line.is_empty()) {}
            let server = TcpStream::connect(target).unwrap();
            (&client).write_all(b"HTTP/1.1 200 Connected\r\n\r\n").unwrap();
            for (mut from, mut to) in [
                (client.try_clone().unwrap(), server.try_clone().unwrap()),
                (server, client),
            ] {
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(std::net::Shutdown::Both);
                });
            }
        }
    });
    (address, asked)
}

#[test]
fn a_proxy_is_gone_through_but_not_to_loopback() {
    let registry = Registry::start();
    registry.image("app", "1", &bare());
    let (address, asked) = proxy(registry.address());
    let mut site = Site::new();
    let url = Some(format!("http://{address}"));
    site.settings.proxy = Proxy {
        http: url.clone(),
        https: url,
        none: "none.test".to_owned(),
    };
    let rules = Rules {
        insecure: true,
        ..Rules::default()
    };
    site.settings.registries.insert("reg.test".to_owned(), rules);
    site.pull("reg.test/app:1").unwrap();
    let lines = asked.lock().unwrap().clone();
    assert_eq!(lines[0], "CONNECT reg.test:443 HTTP/1.1", "https is tried first");
    assert!(
        lines[1..].iter().all(|line| line == "CONNECT reg.test:80 HTTP/1.1"),
        "{lines:?}"
    );

    asked.lock().unwrap().clear();
    site.pull(&registry.name("app:1")).unwrap();
    assert!(asked.lock().unwrap().is_empty());
}
