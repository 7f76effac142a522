//! Collection while pushes go on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hull_registry::serve::settings::Settings;
use hull_testkit::wait;

use super::{MANIFEST, Served, code, json, manifest, sha256};
use crate::noise;

/// Collects all the time, and spares nothing for being young.
fn eager(settings: &mut Settings) {
    settings.gc.interval = Some(Duration::from_millis(5));
    settings.gc.grace = Duration::ZERO;
    settings.gc.uploads = Duration::from_millis(50);
}

fn files(served: &Served) -> usize {
    std::fs::read_dir(served.path("blobs/sha256")).unwrap().count()
}

#[test]
fn what_nothing_refers_to_goes() {
    let served = Served::start();
    let digest = served.image("a", "v1", b"layer");
    served.image("b", "v1", b"layer");
    let alone = served.blob("a", b"alone");
    let begun = served.ask("POST", "/v2/a/blobs/uploads/", &[], b"");
    let at = begun.header("location").unwrap().to_owned();
    assert_eq!(served.ask("PATCH", &at, &[], b"half").status, 202);
    assert_eq!(files(&served), 4);
    // By default nothing is old enough.
    let served = served.restart(|settings| settings.gc.interval = Some(Duration::from_millis(5)));
    wait::until("a collection", || served.log.lock().unwrap().len().checked_sub(2));
    assert_eq!(files(&served), 4);
    let served = served.restart(eager);
    wait::until("the lone blob is gone", || (files(&served) == 3).then_some(()));
    assert_eq!(served.get(&format!("/v2/a/blobs/{alone}")).status, 404);
    wait::until("the upload is gone", || (served.get(&at).status == 404).then_some(()));
    assert_eq!(std::fs::read_dir(served.path("uploads")).unwrap().count(), 0);
    // The layer stays for b's sake, and is a's no more.
    assert_eq!(
        served
            .ask("DELETE", &format!("/v2/a/manifests/{digest}"), &[], b"")
            .status,
        202
    );
    let layer = format!("/v2/a/blobs/{}", sha256(b"layer"));
    wait::until("a has lost its layer", || {
        (served.get(&layer).status == 404).then_some(())
    });
    assert_eq!(served.get(&layer.replace("/a/", "/b/")).body, b"layer");
    assert_eq!(
        served
            .ask("DELETE", &format!("/v2/b/manifests/{digest}"), &[], b"")
            .status,
        202
    );
    wait::until("everything is gone", || (files(&served) == 0).then_some(()));
    let metrics = served.get("/metrics").text();
    assert!(metrics.contains("\nhull_registry_stored_bytes 0\n"), "{metrics}");
    assert!(metrics.contains("\nhull_registry_upload_bytes 0\n"), "{metrics}");
}

#[test]
fn untagged_manifests_go_where_that_is_wanted_and_nothing_keeps_them() {
    let served = Served::start();
    served.blob("a", b"{}");
    served.blob("a", b"layer");
    let plain = |n: usize| {
        let mut json: serde_json::Value = serde_json::from_slice(&manifest(b"{}", &[b"layer"], None)).unwrap();
        json["annotations"] = serde_json::json!({"n": n.to_string()});
        json.to_string().into_bytes()
    };
    let tagged = served.put("a", "v1", &plain(0));
    let listed = plain(1);
    served.put("a", &sha256(&listed), &listed);
    let index = serde_json::json!({"schemaVersion": 2, "mediaType": super::INDEX,
        "manifests": [{"mediaType": MANIFEST, "digest": sha256(&listed), "size": listed.len()}]});
    let headers = [("Content-Type", super::INDEX)];
    assert_eq!(
        served
            .ask("PUT", "/v2/a/manifests/all", &headers, index.to_string().as_bytes())
            .status,
        201
    );
    let about = manifest(b"{}", &[b"layer"], Some(&plain(0)));
    served.put("a", &sha256(&about), &about);
    let loose = plain(2);
    served.put("a", &sha256(&loose), &loose);
    let status = |served: &Served, digest: &str| served.get(&format!("/v2/a/manifests/{digest}")).status;
    let served = served.restart(eager);
    wait::until("a collection", || served.log.lock().unwrap().len().checked_sub(2));
    assert_eq!(status(&served, &sha256(&loose)), 200);
    let served = served.restart(|settings| {
        eager(settings);
        settings.gc.untagged = true;
    });
    wait::until("the loose one is gone", || {
        (status(&served, &sha256(&loose)) == 404).then_some(())
    });
    for digest in [&tagged, &sha256(&listed), &sha256(&about), "all"] {
        assert_eq!(status(&served, digest), 200);
    }
    assert_eq!(served.get(&format!("/v2/a/blobs/{}", sha256(b"layer"))).status, 200);
    assert_eq!(
        json(&served.get("/v2/a/tags/list"))["tags"],
        serde_json::json!(["all", "v1"])
    );
    // Without its subject and the tag, what referred to it goes too.
    assert_eq!(
        served
            .ask("DELETE", &format!("/v2/a/manifests/{tagged}"), &[], b"")
            .status,
        202
    );
    wait::until("the referrer is gone", || {
        (status(&served, &sha256(&about)) == 404).then_some(())
    });
    assert_eq!(
        json(&served.get(&format!("/v2/a/referrers/{tagged}")))["manifests"],
        serde_json::json!([])
    );
}

#[test]
fn a_manifest_that_was_accepted_keeps_its_blobs() {
    let served = Served::with(|settings| {
        eager(settings);
        // A busy machine lets an upload wait for longer than that.
        settings.gc.uploads = Duration::from_secs(3600);
    });
    let done = AtomicBool::new(false);
    let pushed = std::thread::scope(|scope| {
        let pushers: Vec<_> = (0..3)
            .map(|worker: usize| {
                let (served, done) = (&served, &done);
                scope.spawn(move || {
                    let mut kept = Vec::new();
                    let mut lost = 0;
                    for round in 0..40 {
                        let layer = noise(1000 + worker * 1000 + round);
                        // All push the same config, which comes and goes with each.
                        served.blob("shared/app", b"{}");
                        served.blob("shared/app", &layer);
                        let bytes = manifest(b"{}", &[&layer], None);
                        let path = format!("/v2/shared/app/manifests/{worker}-{round}");
                        let answer = served.ask("PUT", &path, &[("Content-Type", MANIFEST)], &bytes);
                        match answer.status {
                            201 => kept.push((path, bytes, layer)),
                            // Without grace a blob may go before its manifest comes: that is said, and nothing is kept.
                            _ => {
                                assert_eq!(code(&answer), "MANIFEST_BLOB_UNKNOWN");
                                lost += 1;
                            }
                        }
                        if round % 4 == 3
                            && let Some((path, bytes, _)) = kept.pop()
                        {
                            let path = path.rsplit_once('/').unwrap().0.to_owned() + "/" + &sha256(&bytes);
                            assert_eq!(served.ask("DELETE", &path, &[], b"").status, 202);
                        }
                    }
                    done.store(true, Ordering::Relaxed);
                    (kept, lost)
                })
            })
            .collect();
        pushers
            .into_iter()
            .map(|pusher| pusher.join().unwrap())
            .collect::<Vec<_>>()
    });
    let collections = served.log.lock().unwrap().len();
    assert!(collections > 2, "nothing was collected meanwhile");
    let all: usize = pushed.iter().map(|(kept, lost)| kept.len() + lost).sum();
    assert!(all > 50, "{all}");
    for (path, bytes, layer) in pushed.iter().flat_map(|(kept, _)| kept) {
        assert_eq!(served.get(path).body, *bytes);
        let blob = served.get(&format!("/v2/shared/app/blobs/{}", sha256(layer)));
        assert!(blob.status == 200 && blob.body == *layer, "{path}");
        assert_eq!(
            served.get(&format!("/v2/shared/app/blobs/{}", sha256(b"{}"))).body,
            b"{}"
        );
    }
}
