//! Who may do what, and what the others learn: nothing.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hull_registry::serve::settings::{Access, Action, Auth, Settings, TokenAuth};
use hull_spec::ErrorKind;
use hull_testkit::http::Response;
use hull_testkit::{Image, Layer};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};

use super::{MANIFEST, Served, code, json, manifest, sha256};
use crate::{Site, fails};

/// `U*U`, in bcrypt.
const HASH: &str = "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";

fn rule(repositories: &str, users: &str, actions: &[Action]) -> Access {
    let list = |text: &str| text.split(' ').map(str::to_owned).collect();
    Access {
        repositories: list(repositories),
        users: list(users),
        actions: actions.to_vec(),
    }
}

/// Users ann, bob and root; each has a folder, `public` is open to all.
fn guarded(settings: &mut Settings) {
    let file = settings.storage.parent().unwrap().join("users");
    std::fs::write(&file, format!("ann:{HASH}\nbob:{HASH}\nroot:{HASH}\n")).unwrap();
    settings.auth = Auth::Htpasswd {
        file,
        realm: "test".to_owned(),
    };
    let all = [Action::Pull, Action::Push, Action::Delete];
    settings.access = vec![
        rule("ann/**", "ann", &all),
        rule("bob/**", "bob", &all),
        rule("public/**", "anonymous", &[Action::Pull]),
        rule(
            "**",
            "root",
            &[Action::Pull, Action::Push, Action::Delete, Action::Metrics],
        ),
    ];
}

fn ask(served: &Served, user: &str, method: &str, path: &str, body: &[u8]) -> Response {
    let basic = format!("Basic {}", STANDARD.encode(format!("{user}:U*U")));
    let mut headers = vec![("Content-Type", MANIFEST)];
    if !user.is_empty() {
        headers.push(("Authorization", basic.as_str()));
    }
    served.ask(method, path, &headers, body)
}

fn push(served: &Served, user: &str, name: &str, layer: &[u8]) {
    for blob in [b"{}", layer] {
        let path = format!("/v2/{name}/blobs/uploads/?digest={}", sha256(blob));
        assert_eq!(ask(served, user, "POST", &path, blob).status, 201);
    }
    let bytes = manifest(b"{}", &[layer], None);
    assert_eq!(
        ask(served, user, "PUT", &format!("/v2/{name}/manifests/1"), &bytes).status,
        201
    );
}

#[test]
fn users_have_what_the_rules_give_them() {
    let served = Served::with(guarded);
    push(&served, "ann", "ann/app", b"ann's secret");
    push(&served, "root", "public/app", b"public");
    let status = |user: &str, method: &str, path: &str| ask(&served, user, method, path, b"").status;
    assert_eq!(status("", "GET", "/v2/"), 401);
    assert_eq!(status("ann", "GET", "/v2/"), 200);
    let refused = served.ask("GET", "/v2/", &[("Authorization", "Basic YW5uOndyb25n")], b"");
    assert_eq!(
        (refused.status, refused.header("www-authenticate")),
        (401, Some("Basic realm=\"test\""))
    );
    for (user, path, expected) in [
        ("", "/v2/public/app/manifests/1", 200),
        ("ann", "/v2/public/app/manifests/1", 200),
        ("ann", "/v2/ann/app/manifests/1", 200),
        ("root", "/v2/ann/app/manifests/1", 200),
        ("", "/v2/ann/app/manifests/1", 401),
        ("bob", "/v2/ann/app/manifests/1", 403),
        ("bob", "/v2/ann/app/tags/list", 403),
        ("nobody", "/v2/public/app/manifests/1", 401),
    ] {
        assert_eq!(status(user, "GET", path), expected, "{user} {path}");
    }
    assert_eq!(status("bob", "POST", "/v2/ann/app/blobs/uploads/"), 403);
    assert_eq!(status("ann", "POST", "/v2/public/app/blobs/uploads/"), 403);
    assert_eq!(status("ann", "DELETE", "/v2/public/app/manifests/1"), 403);
    assert_eq!(status("ann", "GET", "/metrics"), 403);
    assert_eq!(status("", "GET", "/metrics"), 401);
    assert_eq!(status("root", "GET", "/metrics"), 200);
    let catalog = |user: &str| json(&ask(&served, user, "GET", "/v2/_catalog", b""))["repositories"].clone();
    assert_eq!(catalog("ann"), serde_json::json!(["ann/app", "public/app"]));
    assert_eq!(catalog("bob"), serde_json::json!(["public/app"]));
    assert_eq!(catalog(""), serde_json::json!(["public/app"]));
    assert_eq!(catalog("root"), serde_json::json!(["ann/app", "public/app"]));
}

/// What of an answer could tell something: everything but the date and what is random.
fn traits(answer: &Response) -> String {
    let mut out = format!("{} {}", answer.status, answer.text());
    for (name, value) in &answer.headers {
        match name.as_str() {
            "date" | "docker-upload-uuid" => {}
            "location" => out += &format!("\n{name}: {}", &value[..value.len() - 32]),
            _ => out += &format!("\n{name}: {value}"),
        }
    }
    out
}

#[test]
fn private_repositories_do_not_leak() {
    let served = Served::with(guarded);
    let secret = b"ann's secret layer";
    push(&served, "ann", "ann/app", secret);
    let (there, absent) = (sha256(secret), sha256(b"nobody has this"));
    // A mount from where bob may not read is a plain upload, whether the blob or the repository exists or not.
    let mount = |digest: &str, from: &str| {
        let path = format!("/v2/bob/app/blobs/uploads/?mount={digest}&from={from}");
        traits(&ask(&served, "bob", "POST", &path, b""))
    };
    let plain = traits(&ask(&served, "bob", "POST", "/v2/bob/app/blobs/uploads/", b""));
    assert!(plain.starts_with("202"), "{plain}");
    for (digest, from) in [
        (&there, "ann/app"),
        (&absent, "ann/app"),
        (&there, "ann/none"),
        (&absent, "nobody/x"),
    ] {
        assert_eq!(mount(digest, from), plain);
    }
    let root = format!("/v2/root/blobs/uploads/?mount={there}&from=ann/app");
    assert_eq!(
        ask(&served, "root", "POST", &root, b"").status,
        201,
        "who may read it mounts it"
    );
    // What is refused is refused alike.
    for tail in ["blobs/", "manifests/", "referrers/"] {
        let at =
            |name: &str, digest: &str| traits(&ask(&served, "bob", "GET", &format!("/v2/{name}/{tail}{digest}"), b""));
        assert_eq!(at("ann/app", &there), at("ann/none", &absent));
        assert_eq!(at("ann/app", &there), at("ann/app", &absent));
    }
    // A blob that another has is not bob's, nor can he build an image of it, until he has sent it himself.
    let head = |name: &str| ask(&served, "bob", "HEAD", &format!("/v2/{name}/blobs/{there}"), b"").status;
    assert_eq!(head("bob/app"), 404);
    let empty = format!("/v2/bob/app/blobs/uploads/?digest={}", sha256(b"{}"));
    assert_eq!(ask(&served, "bob", "POST", &empty, b"{}").status, 201);
    let theft = manifest(b"{}", &[secret], None);
    let refused = ask(&served, "bob", "PUT", "/v2/bob/app/manifests/1", &theft);
    assert_eq!(
        (refused.status, code(&refused).as_str()),
        (400, "MANIFEST_BLOB_UNKNOWN")
    );
    // Sent by himself, it is kept once, and answered as any other.
    let upload = |digest: &str, bytes: &[u8]| {
        let answer = ask(
            &served,
            "bob",
            "POST",
            &format!("/v2/bob/app/blobs/uploads/?digest={digest}"),
            bytes,
        );
        (answer.status, answer.headers.len())
    };
    let files = || std::fs::read_dir(served.path("blobs/sha256")).unwrap().count();
    let before = files();
    assert_eq!(upload(&there, secret), upload(&absent, b"nobody has this"));
    assert_eq!(files(), before + 1);
    assert_eq!(head("bob/app"), 200);
}

#[test]
fn tokens_open_what_they_say() {
    let rng = SystemRandom::new();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &rng).unwrap();
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &rng).unwrap();
    let served = Served::with(|settings| {
        let point = key.public_key().as_ref();
        let keys = settings.storage.parent().unwrap().join("keys.json");
        let set = serde_json::json!({"keys": [{"kty": "EC", "crv": "P-256",
            "x": URL_SAFE_NO_PAD.encode(&point[1..33]), "y": URL_SAFE_NO_PAD.encode(&point[33..])}]});
        std::fs::write(&keys, set.to_string()).unwrap();
        settings.auth = Auth::Token(TokenAuth {
            realm: "https://auth.test/token".to_owned(),
            service: "reg".to_owned(),
            issuer: "auth".to_owned(),
            keys,
        });
    });
    let token = |access: serde_json::Value| {
        let claims =
            serde_json::json!({"iss": "auth", "aud": "reg", "exp": 4_000_000_000_u64, "sub": "ann", "access": access});
        let text = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(r#"{"alg":"ES256"}"#),
            URL_SAFE_NO_PAD.encode(claims.to_string())
        );
        let signature = key.sign(&rng, text.as_bytes()).unwrap();
        format!("Bearer {text}.{}", URL_SAFE_NO_PAD.encode(signature))
    };
    let ask = |bearer: &str, method: &str, path: &str| served.ask(method, path, &[("Authorization", bearer)], b"");
    let refused = served.get("/v2/a/tags/list");
    assert_eq!(
        (refused.status, refused.header("www-authenticate")),
        (
            401,
            Some(
                "Bearer realm=\"https://auth.test/token\",service=\"reg\",scope=\"repository:a:pull\",error=\"insufficient_scope\""
            )
        )
    );
    let pull = token(serde_json::json!([{"type": "repository", "name": "a", "actions": ["pull"]}]));
    assert_eq!(ask(&pull, "GET", "/v2/").status, 200);
    assert_eq!(ask(&pull, "GET", "/v2/a/tags/list").status, 404);
    assert_eq!(ask(&pull, "GET", "/v2/b/tags/list").status, 401);
    let refused = ask(&pull, "POST", "/v2/a/blobs/uploads/");
    assert!(
        refused.status == 401
            && refused
                .header("www-authenticate")
                .unwrap()
                .contains("repository:a:pull,push")
    );
    assert_eq!(ask(&pull, "GET", "/v2/_catalog").status, 401);
    let push = token(serde_json::json!([{"type": "repository", "name": "a", "actions": ["pull", "push"]}]));
    assert_eq!(ask(&push, "POST", "/v2/a/blobs/uploads/").status, 202);
    assert_eq!(ask(&push, "DELETE", "/v2/a/manifests/1").status, 401);
    let catalog = token(serde_json::json!([{"type": "registry", "name": "catalog", "actions": ["*"]}]));
    assert_eq!(ask(&catalog, "GET", "/v2/_catalog").status, 200);
    let mut forged = push.clone();
    forged.pop();
    assert_eq!(ask(&forged, "POST", "/v2/a/blobs/uploads/").status, 401);
}

#[test]
fn our_own_client_gets_in_over_tls() {
    let file = |name: &str| {
        std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("tests/it/tls")
            .join(name)
    };
    let mut served = Served::with(guarded);
    let image = Image::new().layer(Layer::build().file("f", 0o644, vec![7; 2 << 20]).gzip());
    for blob in image.layers().iter().map(|layer| &layer.blob).chain([&image.config()]) {
        let path = format!("/v2/ann/app/blobs/uploads/?digest={}", blob.digest);
        assert_eq!(ask(&served, "ann", "POST", &path, &blob.bytes()).status, 201);
    }
    assert_eq!(
        ask(
            &served,
            "ann",
            "PUT",
            "/v2/ann/app/manifests/1",
            &image.manifest().bytes()
        )
        .status,
        201
    );
    served = served.restart(|settings| {
        guarded(settings);
        settings.tls = Some((file("server.crt"), file("server.key")));
    });
    let name = format!("{}/ann/app:1", served.address);
    let mut site = Site::new();
    site.settings.roots = Some(file("ca.crt"));
    fails(site.pull(&name), ErrorKind::Denied, "access denied");
    let auth = STANDARD.encode("ann:U*U");
    site.login(&format!(
        r#"{{"auths": {{"{}": {{"auth": "{auth}"}}}}}}"#,
        served.address
    ));
    let pulled = site.pull(&name).unwrap();
    assert_eq!(site.file(&pulled, "f"), vec![7; 2 << 20]);
    assert!(served.log.lock().unwrap().is_empty());
}
