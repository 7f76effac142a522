//! Being let in.

use std::os::unix::fs::PermissionsExt as _;

use hull_registry::Credentials;
use hull_spec::ErrorKind;
use hull_testkit::registry::{Login, Registry, Reply};

use super::{Site, bare, fails, started};

/// `u:p` for the registry.
fn config(registry: &Registry) -> String {
    format!(r#"{{"auths":{{"{}":{{"auth":"dTpw"}}}}}}"#, registry.address())
}

#[test]
fn basic_authentication_is_given_when_asked_for() {
    let (mut site, registry) = started();
    registry.image("app", "1", &bare());
    site.login(&config(&registry));
    site.pull(&registry.name("app:1")).unwrap();
    assert!(
        registry
            .seen("/")
            .iter()
            .all(|seen| seen.header("authorization").is_none()),
        "nobody has asked"
    );

    registry.require(Login::basic("u", "p"));
    registry.forget();
    registry.image("app", "2", &bare().cmd(&["x"]));
    site.pull(&registry.name("app:2")).unwrap();
    let shown: Vec<_> = registry
        .seen("/v2/app/")
        .iter()
        .map(|seen| seen.header("authorization").map(str::to_owned))
        .collect();
    let basic = Some("Basic dTpw".to_owned());
    assert_eq!(shown, [None, basic.clone(), basic], "asked once, then known");

    registry.require(Login::basic("u", "other"));
    fails(
        super::Site::new().pull(&registry.name("app:1")),
        ErrorKind::Denied,
        "pull access denied",
    );
    site.settings.credentials = None;
    fails(
        site.pull(&registry.name("app:3")),
        ErrorKind::Denied,
        "or may require 'docker login': unauthorized: authentication required",
    );
}

#[test]
fn tokens_are_fetched_once_and_again_when_they_end() {
    let (mut site, registry) = started();
    registry.image("app", "1", &bare());
    registry.require(Login::anonymous_token());
    site.pull(&registry.name("app:1")).unwrap();
    let asked = registry.seen("/token");
    assert_eq!(asked.len(), 1);
    assert_eq!(
        asked[0].path,
        "/token?service=test%20registry&scope=repository:app:pull"
    );
    assert_eq!(asked[0].header("authorization"), None);

    // A token that is refused after one request is replaced, not given up on.
    registry.require(Login::anonymous_token().uses(1));
    registry.forget();
    super::Site::new().pull(&registry.name("app:1")).unwrap();
    assert_eq!(registry.seen("/token").len(), 2);

    registry.require(Login::token("u", "p"));
    registry.forget();
    site.login(&config(&registry));
    let (other, _) = started();
    site.dir = other.dir;
    site.login(&config(&registry));
    site.pull(&registry.name("app:1")).unwrap();
    let asked = registry.seen("/token");
    assert_eq!(asked[0].header("authorization"), Some("Basic dTpw"));
    assert!(asked[0].path.contains("account=u&"), "{}", asked[0].path);
    let registry_saw = registry.seen("/v2/");
    let basic = registry_saw
        .iter()
        .any(|seen| seen.header("authorization").is_some_and(|h| h.starts_with("Basic")));
    assert!(!basic, "the password goes to the token server only");
}

#[test]
fn one_client_keeps_its_tokens_between_pulls() {
    let (site, registry) = started();
    registry.image("app", "1", &bare());
    registry.image("app", "2", &bare().cmd(&["x"]));
    registry.image("other", "1", &bare().cmd(&["y"]));
    registry.require(Login::anonymous_token().expires_in(300));
    let client = std::sync::Arc::new(hull_registry::Client::new(site.settings.clone()));
    for name in ["app:1", "app:2", "other:1"] {
        site.pull_with(&client, &registry.name(name), None).unwrap();
    }
    assert_eq!(registry.seen("/token").len(), 2, "one for each repository");
}

#[test]
fn wrong_passwords_and_silly_token_servers_are_told() {
    let (mut site, registry) = started();
    registry.image("app", "1", &bare());
    registry.require(Login::token("u", "right"));
    site.login(&config(&registry));
    fails(
        site.pull(&registry.name("app:1")),
        ErrorKind::Denied,
        "incorrect username or password",
    );

    registry.require(Login::anonymous_token());
    site.settings.credentials = None;
    let check = |body: &'static str, said: &str| {
        registry.heal();
        registry.always("/token", move |reply| reply.body = body.as_bytes().to_vec());
        let err = fails(site.pull(&registry.name("app:1")), ErrorKind::Unavailable, said);
        assert!(!err.to_string().contains("s3cret"), "{err}");
    };
    check("{}", "authorization server did not include a token in the response");
    check(r#"{"token":""}"#, "did not include a token");
    check(r#"{"token":"s3cret\r\nX-Evil: 1"}"#, "characters that no token holds");
    check(r#"s3cret"#, "no valid JSON");
    registry.heal();
    registry.always("/token", |reply| reply.body = vec![b' '; 2 << 20]);
    fails(
        site.pull(&registry.name("app:1")),
        ErrorKind::Invalid,
        "larger than 1048576 bytes",
    );
    registry.heal();
    registry.spoil(2, "/token", |_, reply| *reply = Reply::error(503, "UNAVAILABLE", "ill"));
    site.pull(&registry.name("app:1")).unwrap();
}

#[test]
fn identity_tokens_are_traded_over_post() {
    let (mut site, registry) = started();
    registry.image("app", "1", &bare());
    registry.require(Login::identity("refresh"));
    site.login(&format!(
        r#"{{"auths":{{"{}":{{"identitytoken":"refresh"}}}}}}"#,
        registry.address()
    ));
    site.pull(&registry.name("app:1")).unwrap();
    let asked = &registry.seen("/token")[0];
    assert_eq!((asked.method.as_str(), asked.path.as_str()), ("POST", "/token"));
    assert_eq!(
        asked.body,
        "grant_type=refresh_token&service=test%20registry&client_id=hull&scope=repository:app:pull&refresh_token=refresh"
    );
}

#[test]
fn credentials_come_from_helpers_only_when_needed() {
    let (mut site, registry) = started();
    registry.image("app", "1", &bare());
    let log = site.path("asked");
    let helper = site.path("docker-credential-test");
    let script = format!(
        "#!/bin/sh\nread server; echo \"$1 $server\" >> {}\necho '{{\"Username\":\"u\",\"Secret\":\"p\"}}'\n",
        log.display()
    );
    std::fs::write(&helper, script).unwrap();
    std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o755)).unwrap();
    site.settings.helper_path = vec![site.dir.path().to_owned()];
    site.login(&format!(r#"{{"credHelpers":{{"{}":"test"}}}}"#, registry.address()));
    site.pull(&registry.name("app:1")).unwrap();
    assert!(!log.exists(), "nobody has asked");
    registry.require(Login::token("u", "p"));
    registry.image("app", "2", &bare().cmd(&["x"]));
    site.pull(&registry.name("app:2")).unwrap();
    assert_eq!(
        std::fs::read_to_string(&log).unwrap(),
        format!("get {}\n", registry.address()),
        "asked once"
    );
}

/// Docker's configuration often names a helper that is not installed, and nobody needs it for public images.
#[test]
fn a_helper_that_fails_only_matters_where_credentials_do() {
    let (mut site, registry) = started();
    registry.image("app", "1", &bare());
    site.login(r#"{"credsStore":"not-installed"}"#);
    registry.require(Login::anonymous_token());
    site.pull(&registry.name("app:1")).unwrap();
    for login in [Login::token("u", "p"), Login::basic("u", "p")] {
        registry.require(login);
        fails(
            site.pull(&registry.name("app:2")),
            ErrorKind::Invalid,
            "credential helper `docker-credential-not-installed` failed: ",
        );
    }
    registry.require(Login::anonymous_token());
    registry.spoil(9, "/manifests/", |_, reply| {
        if reply.status != 401 {
            *reply = Reply::error(403, "DENIED", "not for everybody");
        }
    });
    fails(
        site.pull(&registry.name("app:1")),
        ErrorKind::Invalid,
        "docker-credential-not-installed",
    );
}

#[test]
fn given_credentials_win_over_the_file() {
    let (mut site, registry) = started();
    registry.image("app", "1", &bare());
    registry.require(Login::basic("x", "y"));
    site.login(&config(&registry));
    let given = Credentials::Password {
        user: "x".to_owned(),
        password: "y".to_owned(),
    };
    let client = hull_registry::Client::new(site.settings.clone()).with_credentials(given);
    site.pull_with(&std::sync::Arc::new(client), &registry.name("app:1"), None)
        .unwrap();
}

/// CVE-2020-15157 and its kin: a registry must not be able to have credentials sent where it likes.
#[test]
fn a_realm_elsewhere_over_plain_http_never_gets_credentials() {
    let (mut site, registry) = started();
    registry.image("app", "1", &bare());
    site.login(&config(&registry));
    for realm in [
        "http://attacker.example/token",
        "http://192.0.2.1/token",
        "ftp://127.0.0.1/",
        "/token",
    ] {
        registry.require(Login::token("u", "p").at(realm));
        fails(
            site.pull(&registry.name("app:1")),
            ErrorKind::Denied,
            "which is refused",
        );
    }
    // Another port of this machine is fine: that is how token servers are tried out.
    let tokens = Registry::start();
    tokens.require(Login::token("u", "p"));
    registry.require(Login::token("u", "p").at(&tokens.url("/token")));
    let refused = site.pull(&registry.name("app:1"));
    assert_eq!(tokens.seen("/token").len(), 1);
    fails(refused, ErrorKind::Denied, "pull access denied");
}

#[test]
fn endless_challenges_end() {
    let (mut site, registry) = started();
    site.login(&config(&registry));
    registry.always("/v2/app", |reply| {
        *reply = Reply::error(401, "UNAUTHORIZED", "never enough");
        reply.set(
            "WWW-Authenticate",
            "Basic realm=x, Bearer realm=\"http://127.0.0.1:1/token\"",
        );
    });
    let start = std::time::Instant::now();
    assert!(site.pull(&registry.name("app:1")).is_err());
    assert!(start.elapsed() < std::time::Duration::from_secs(3));
    assert!(registry.seen("/v2/app").len() <= 4);
    let (site, _) = (Site::new(), ());
    fails(
        site.pull(&registry.name("app:1")),
        ErrorKind::Unavailable,
        "127.0.0.1:1",
    );
}
