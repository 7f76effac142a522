//! Mirrors stand in for a registry, and the registry for them.

use hull_registry::settings::Registry as Rules;
use hull_spec::ErrorKind;
use hull_testkit::registry::{Login, Registry, Reply};
use hull_testkit::require_root;

use super::{Site, bare, big, fails, started};

/// A registry with a mirror.
fn mirrored(prefix: &str) -> (Site, Registry, Registry) {
    let (mut site, registry) = started();
    let mirror = Registry::start();
    site.settings.registries.insert(
        registry.address().to_string(),
        Rules {
            mirrors: vec![mirror.url(prefix)],
            ..Rules::default()
        },
    );
    (site, registry, mirror)
}

#[test]
fn a_mirror_is_asked_first_under_its_prefix() {
    let (site, registry, mirror) = mirrored("/hub");
    mirror.image("hub/app", "1", &bare());
    let pulled = site.pull(&registry.name("app:1")).unwrap();
    assert_eq!(
        pulled.reference.to_string(),
        registry.name("app:1"),
        "it keeps its name"
    );
    assert!(registry.seen("").is_empty());
}

#[test]
fn the_registry_stands_in_for_its_mirrors() {
    let spoils: [fn(&mut Reply); 4] = [
        |reply| reply.status = 503,
        |reply| reply.status = 404,
        |reply| reply.body = b"{\"schemaVersion\":1}".to_vec(),
        |reply| reply.cut = Some(3),
    ];
    for (i, spoil) in spoils.into_iter().enumerate() {
        let (site, registry, mirror) = mirrored("");
        mirror.image("app", "1", &bare());
        registry.image("app", "1", &bare());
        mirror.always("", spoil);
        site.pull(&registry.name("app:1"))
            .unwrap_or_else(|err| panic!("{i}: {err}"));
        assert!(mirror.seen("/manifests/").len() <= 2, "{i}: a mirror is not waited for");
    }
    let (site, registry, mirror) = mirrored("");
    registry.image("app", "1", &bare());
    drop(mirror);
    site.pull(&registry.name("app:1")).unwrap();
    fails(
        site.pull(&registry.name("app:2")),
        ErrorKind::NotFound,
        "app:2 not found",
    );
}

#[test]
fn privileged_bytes_that_a_mirror_gets_wrong_come_from_the_registry() {
    if !require_root() {
        return;
    }
    let image = big(300_000);
    let blob = image.layers()[0].blob.clone();
    let spoils: [fn(&mut Reply); 3] = [
        |reply| reply.body[1000] ^= 1,
        |reply| reply.body.truncate(1000),
        |reply| *reply = Reply::error(404, "BLOB_UNKNOWN", "gone"),
    ];
    for (i, spoil) in spoils.into_iter().enumerate() {
        let (site, registry, mirror) = mirrored("");
        mirror.image("app", "1", &image);
        registry.image("app", "1", &image);
        mirror.always(&blob.digest, spoil);
        let pulled = site
            .pull(&registry.name("app:1"))
            .unwrap_or_else(|err| panic!("{i}: {err}"));
        assert_eq!(site.file(&pulled, "data").len(), 300_000, "{i}");
        assert_eq!(registry.seen(&blob.digest).len(), 1, "{i}");
    }
}

#[test]
fn a_mirror_never_sees_the_registry_s_credentials() {
    let (mut site, registry, mirror) = mirrored("");
    registry.image("app", "1", &bare());
    registry.require(Login::basic("u", "p"));
    mirror.require(Login::basic("u", "p"));
    site.login(&format!(
        r#"{{"auths":{{"{}":{{"auth":"dTpw"}}}}}}"#,
        registry.address()
    ));
    site.pull(&registry.name("app:1")).unwrap();
    assert!(!mirror.seen("/v2/").is_empty());
    assert!(
        mirror
            .seen("")
            .iter()
            .all(|seen| seen.header("authorization").is_none())
    );
}
