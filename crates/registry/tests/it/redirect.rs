//! Redirects: followed for content, never with credentials.

use hull_spec::ErrorKind;
use hull_testkit::registry::{Login, Registry};
use hull_testkit::require_root;

use super::{bare, big, fails, started};

#[test]
fn another_host_gets_no_credentials() {
    let (mut site, registry) = started();
    let store = Registry::start();
    let image = bare();
    registry.image("app", "1", &image);
    store.image("app", "1", &image);
    registry.require(Login::basic("u", "p"));
    site.login(&format!(
        r#"{{"auths":{{"{}":{{"auth":"dTpw"}},"{}":{{"auth":"dTpw"}}}}}}"#,
        registry.address(),
        store.address()
    ));
    let to = store.url("");
    registry.spoil(usize::MAX, "/v2/app/", move |seen, reply| {
        if seen.header("authorization").is_some() {
            reply.redirect(&format!("{to}{}", seen.path));
        }
    });
    site.pull(&registry.name("app:1")).unwrap();
    let elsewhere = store.seen("");
    assert_eq!(elsewhere.len(), 2, "the manifest and the config");
    for seen in elsewhere {
        assert_eq!(seen.header("authorization"), None, "{}", seen.path);
    }
}

#[test]
fn a_challenge_from_elsewhere_is_not_obeyed() {
    let (mut site, registry) = started();
    let other = Registry::start();
    registry.image("app", "1", &bare());
    other.require(Login::basic("u", "p"));
    site.login(&format!(
        r#"{{"auths":{{"{}":{{"auth":"dTpw"}},"{}":{{"auth":"dTpw"}}}}}}"#,
        registry.address(),
        other.address()
    ));
    let to = other.url("/v2/app/manifests/1");
    registry.always("/manifests/", move |reply| reply.redirect(&to));
    fails(
        site.pull(&registry.name("app:1")),
        ErrorKind::Denied,
        "pull access denied",
    );
    assert_eq!(other.seen("").len(), 1);
    assert!(
        registry
            .seen("")
            .iter()
            .all(|seen| seen.header("authorization").is_none())
    );
}

#[test]
fn the_same_host_keeps_being_let_in() {
    let (mut site, registry) = started();
    let image = bare();
    registry.image("app", "1", &image);
    registry.image("moved", "1", &image);
    registry.require(Login::basic("u", "p"));
    site.login(&format!(
        r#"{{"auths":{{"{}":{{"auth":"dTpw"}}}}}}"#,
        registry.address()
    ));
    registry.spoil(usize::MAX, "/v2/app/", |seen, reply| {
        if seen.header("authorization").is_some() {
            reply.redirect(&seen.path.replace("/app/", "/moved/"));
        }
    });
    site.pull(&registry.name("app:1")).unwrap();
    assert!(
        registry
            .seen("/moved/")
            .iter()
            .all(|seen| seen.header("authorization").is_some())
    );
}

#[test]
fn redirects_end() {
    let (site, registry) = started();
    registry.image("app", "1", &bare());
    registry.spoil(usize::MAX, "/manifests/", |seen, reply| reply.redirect(&seen.path));
    fails(
        site.pull(&registry.name("app:1")),
        ErrorKind::Invalid,
        "more than 10 redirects",
    );
    assert_eq!(registry.seen("/manifests/").len(), 11);
    for location in [
        "file:///etc/passwd",
        "http://u:p@127.0.0.1/",
        "gopher://x/",
        "http://[::1/",
    ] {
        registry.heal();
        registry.always("/manifests/", move |reply| reply.redirect(location));
        fails(
            site.pull(&registry.name("app:1")),
            ErrorKind::Invalid,
            "which is refused",
        );
    }
}

#[test]
fn privileged_a_resumed_download_asks_the_registry_anew() {
    if !require_root() {
        return;
    }
    let (site, registry) = started();
    let store = Registry::start();
    let image = big(1 << 20);
    registry.image("app", "1", &image);
    let blob = image.layers()[0].blob.clone();
    store.blob(&blob);
    store.once(&blob.digest, |reply| reply.cut = Some(100_000));
    let to = store.url("");
    registry.spoil(usize::MAX, &blob.digest, move |seen, reply| {
        reply.redirect(&format!("{to}{}?signature=s3cret", seen.path));
    });
    site.pull(&registry.name("app:1")).unwrap();
    assert_eq!(
        registry.seen(&blob.digest).len(),
        2,
        "a signed URL may have ended meanwhile"
    );
    assert_eq!(store.seen(&blob.digest)[1].header("range"), Some("bytes=100000-"));
    assert_eq!(store.sent(&blob.digest), blob.size);

    let (site, _) = started();
    store.always(&blob.digest, |reply| reply.status = 403);
    let err = fails(site.pull(&registry.name("app:1")), ErrorKind::Denied, "403");
    assert!(!err.to_string().contains("s3cret"), "{err}");
}
