//! Registries behind TLS. The certificates under `tls/` are for 127.0.0.1, `localhost` and `reg.test`, for a hundred years, signed
//! by a CA whose key nobody has; `other.crt` is another CA.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;

use hull_spec::ErrorKind;
use hull_testkit::registry::{Login, Registry};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::proxy::proxy;
use super::{Site, bare, fails};

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/it/tls")
        .join(name)
}

/// Puts TLS before a registry. Each connection carries one request.
fn front(registry: &Registry) -> SocketAddr {
    let certificates = CertificateDer::pem_file_iter(file("server.crt")).unwrap();
    let key = PrivateKeyDer::from_pem_file(file("server.key")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(certificates.map(Result::unwrap).collect(), key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, behind) = (listener.local_addr().unwrap(), registry.address());
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let config = Arc::clone(&config);
            std::thread::spawn(move || {
                let connection = ServerConnection::new(config).unwrap();
                // A client that is no TLS client, or that does not like the certificate, leaves early.
                let _ = relay(StreamOwned::new(connection, client), behind);
            });
        }
    });
    address
}

fn relay(mut client: StreamOwned<ServerConnection, TcpStream>, behind: SocketAddr) -> std::io::Result<()> {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte)?;
        request.push(byte[0]);
    }
    request.truncate(request.len() - 2);
    request.extend(b"Connection: close\r\n\r\n");
    let mut server = TcpStream::connect(behind)?;
    server.write_all(&request)?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer)?;
    let end = answer.windows(2).position(|w| w == b"\r\n").unwrap_or(0) + 2;
    client.write_all(&answer[..end])?;
    client.write_all(b"Connection: close\r\n")?;
    client.write_all(&answer[end..])?;
    client.conn.send_close_notify();
    client.flush()
}

/// Trusts `ca` for `address`, as `certs.d` has it.
fn trust(site: &mut Site, address: &str, ca: &str) {
    let folder = site.path("certs.d").join(address);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::copy(file(ca), folder.join("ca.crt")).unwrap();
    site.settings.certificates = vec![site.path("certs.d")];
}

#[test]
fn loopback_is_spoken_to_in_tls_where_it_speaks_tls() {
    let registry = Registry::start();
    registry.image("app", "1", &bare());
    let address = front(&registry);
    // Docker's rule: loopback needs no certificate that anybody knows.
    Site::new().pull(&format!("{address}/app:1")).unwrap();
    Site::new()
        .pull(&format!("localhost:{}/app:1", address.port()))
        .unwrap();
}

#[test]
fn a_ca_in_certs_d_is_the_one_that_counts() {
    let registry = Registry::start();
    registry.image("app", "1", &bare());
    let address = front(&registry).to_string();
    let mut site = Site::new();
    trust(&mut site, &address, "ca.crt");
    site.pull(&format!("{address}/app:1")).unwrap();

    let mut site = Site::new();
    trust(&mut site, &address, "other.crt");
    registry.forget();
    let err = fails(
        site.pull(&format!("{address}/app:1")),
        ErrorKind::Unavailable,
        "invalid peer certificate",
    );
    assert!(registry.seen("").is_empty(), "nothing is asked of a stranger");
    assert!(
        err.hints()[0].contains(&format!("certs.d/{address}/ca.crt")),
        "{:?}",
        err.hints()
    );
}

#[test]
fn a_mirror_that_says_https_has_no_second_way() {
    let registry = Registry::start();
    registry.image("app", "1", &bare());
    let address = front(&registry).to_string();
    let mut site = Site::new();
    trust(&mut site, &address, "other.crt");
    let rules = hull_registry::settings::Registry {
        mirrors: vec![format!("https://{address}")],
        ..Default::default()
    };
    site.settings.registries.insert("127.0.0.1:1".to_owned(), rules);
    fails(site.pull("127.0.0.1:1/app:1"), ErrorKind::Unavailable, "refused");
    assert!(registry.seen("").is_empty());
    trust(&mut site, &address, "ca.crt");
    site.pull("127.0.0.1:1/app:1").unwrap();
}

#[test]
fn https_is_never_left_for_http() {
    let registry = Registry::start();
    registry.image("app", "1", &bare());
    let address = front(&registry).to_string();
    let plain = Registry::start();
    plain.image("app", "1", &bare());
    let to = plain.url("/v2/app/manifests/1");
    registry.always("/manifests/", move |reply| reply.redirect(&to));
    fails(
        Site::new().pull(&format!("{address}/app:1")),
        ErrorKind::Invalid,
        "which is refused: it leads from https to plain http",
    );
    assert!(plain.seen("").is_empty());
}

#[test]
fn a_token_server_over_http_gets_no_credentials_of_an_https_registry() {
    let registry = Registry::start();
    registry.image("app", "1", &bare());
    let address = front(&registry).to_string();
    let tokens = Registry::start();
    registry.require(Login::token("u", "p").at(&tokens.url("/token")));
    let mut site = Site::new();
    site.login(&format!(r#"{{"auths":{{"{address}":{{"auth":"dTpw"}}}}}}"#));
    fails(
        site.pull(&format!("{address}/app:1")),
        ErrorKind::Denied,
        "which is refused: it would carry credentials over plain http",
    );
    assert!(tokens.seen("").is_empty());
}

/// A registry that is neither on this machine nor named insecure: reached through a proxy, which resolves its name.
#[test]
fn other_registries_are_asked_over_https_and_with_a_certificate_or_not_at_all() {
    let registry = Registry::start();
    registry.image("app", "1", &bare());
    let (address, asked) = proxy(front(&registry));
    let mut site = Site::new();
    let url = Some(format!("http://{address}"));
    site.settings.proxy.http.clone_from(&url);
    site.settings.proxy.https = url;
    site.settings.roots = Some(file("other.crt"));
    let err = fails(
        site.pull("reg.test/app:1"),
        ErrorKind::Unavailable,
        "invalid peer certificate",
    );
    assert!(err.hints()[0].contains("certs.d/reg.test/ca.crt"), "{:?}", err.hints());
    site.settings.roots = Some(file("ca.crt"));
    fails(
        site.pull("reg2.test/app:1"),
        ErrorKind::Unavailable,
        "invalid peer certificate",
    );
    assert!(registry.seen("").is_empty());
    site.pull("reg.test/app:1").unwrap();
    let lines = asked.lock().unwrap().clone();
    assert!(lines.iter().all(|line| line.contains(":443 ")), "{lines:?}");

    site.settings.roots = Some(file("server.key"));
    fails(
        site.pull("reg.test/app:2"),
        ErrorKind::Invalid,
        "server.key`: it holds no certificate",
    );
}
