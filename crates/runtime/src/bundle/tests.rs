//! Configs that are understood, and that are not.

use serde_json::{Value, json};

use super::*;
use crate::capability::Set;
use crate::cgroup::DevicePolicy;
use crate::container::{Source, User};

const HOST: Host = Host {
    cgroups: Layout::Unified,
    kernel: (6, 18),
    user_namespace: false,
};

fn understand(edit: impl FnOnce(&mut Value)) -> Result<Bundle> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("rootfs")).unwrap();
    let mut config = crate::command::example_config();
    edit(&mut config);
    std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    Bundle::open(folder.path(), &HOST)
}

#[test]
fn the_example_config() {
    let bundle = understand(|_| ()).unwrap();
    let container = &bundle.container;
    assert_eq!(container.hostname.as_deref(), Some("hull"));
    assert!(container.readonly_rootfs);
    assert!(container.namespaces.pid.is_new() && container.namespaces.network.is_new());
    assert!(!container.namespaces.user.is_new());
    assert_eq!(container.process.args, ["sh"]);
    assert!(container.process.terminal && container.process.no_new_privileges);
    assert_eq!(
        container.process.user,
        User::Ids {
            uid: 0,
            gid: 0,
            groups: vec![]
        }
    );
    assert_eq!(container.process.limits.len(), 1);
    let nodes: Vec<&str> = container.devices.iter().map(|device| device.path.as_str()).collect();
    assert_eq!(
        nodes,
        [
            "/dev/null",
            "/dev/zero",
            "/dev/full",
            "/dev/random",
            "/dev/urandom",
            "/dev/tty"
        ]
    );
    assert_eq!(bundle.resources, Resources::default());
    assert_eq!(bundle.cgroup, None);
    assert!(matches!(container.mounts.last().unwrap().source, Source::Cgroup));
}

#[test]
fn configs_that_are_refused() {
    let check = |edit: fn(&mut Value), says: &str| {
        let error = understand(edit).unwrap_err().to_string();
        assert!(error.contains(says), "`{error}` does not say `{says}`");
    };
    check(|c| c["ociVersion"] = json!("0.9.0"), "`0.9.0` is not supported");
    check(|c| c["ociVersion"] = json!(""), "is not supported");
    check(|c| c["process"] = Value::Null, "lacks `process`");
    check(|c| c["root"] = Value::Null, "lacks `root`");
    check(|c| c["root"]["path"] = json!("config.json"), "not a folder");
    check(|c| c["process"]["args"] = json!([]), "names no program");
    check(|c| c["process"]["user"]["username"] = json!("root"), "username");
    check(
        |c| c["process"]["ioPriority"] = json!({"class": "IOPRIO_CLASS_IDLE", "priority": 0}),
        "`process.ioPriority`",
    );
    check(
        |c| c["linux"]["namespaces"][4] = json!({"type": "mount", "path": "/proc/1/ns/mnt"}),
        "joining a mount namespace",
    );
    check(|c| c["linux"]["namespaces"] = json!([]), "without a mount namespace");
    check(|c| c["linux"]["namespaces"][0] = json!({"type": "ipc"}), "twice");
    check(
        |c| c["linux"]["namespaces"][0] = json!({"type": "time"}),
        "time namespace",
    );
    check(
        |c| c["linux"]["namespaces"][0] = json!({"type": "pid", "path": "ns"}),
        "not absolute",
    );
    check(
        |c| c["linux"]["namespaces"][0] = json!({"type": "user"}),
        "needs `uidMappings`",
    );
    check(
        |c| c["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": 0, "size": 1}]),
        "need a user namespace",
    );
    check(
        |c| c["linux"]["namespaces"][3] = json!({"type": "user"}),
        "needs `uidMappings`",
    );
    check(|c| c["linux"]["rootfsPropagation"] = json!("sideways"), "sideways");
    check(|c| c["linux"]["intelRdt"] = json!({}), "`linux.intelRdt`");
    check(
        |c| c["linux"]["sysctl"] = json!({"vm.swappiness": "1"}),
        "not in a separate kernel namespace",
    );
    check(
        |c| c["linux"]["sysctl"] = json!({"kernel.shmmaxx": "1"}),
        "not in a separate kernel namespace",
    );
    check(
        |c| c["mounts"][0] = json!({"destination": "/x"}),
        "neither a bind nor has a type",
    );
    check(
        |c| c["mounts"][0] = json!({"destination": "/x", "type": "bind"}),
        "lacks its source",
    );
    check(
        |c| c["mounts"][0] = json!({"destination": "/x", "source": "/", "options": ["bind", "odd"]}),
        "`odd`",
    );
    check(
        |c| c["mounts"][0]["uidMappings"] = json!([{"containerID": 0, "hostID": 0, "size": 1}]),
        "needs both `uidMappings` and `gidMappings`",
    );
    check(
        |c| c["linux"]["devices"] = json!([{"path": "x", "type": "c", "major": 1, "minor": 3}]),
        "not absolute",
    );
    check(
        |c| c["linux"]["devices"] = json!([{"path": "/x", "type": "c", "major": -1, "minor": 3}]),
        "out of range",
    );
    check(
        |c| c["linux"]["resources"]["devices"][0]["access"] = json!("rwx"),
        "unknown letter `x`",
    );
    check(
        |c| c["linux"]["resources"]["network"] = json!({"classID": 5}),
        "`linux.resources.network`",
    );
    check(
        |c| c["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ERRNO", "listenerPath": "/s"}),
        "SCMP_ACT_NOTIFY",
    );
    check(
        |c| {
            c["process"]["rlimits"] =
                json!([{"type": "RLIMIT_CPU", "soft": 1, "hard": 1}, {"type": "RLIMIT_CPU", "soft": 1, "hard": 1}])
        },
        "twice",
    );
    check(|c| c["hostname"] = json!(7), "no OCI config");
}

#[test]
fn settings_need_their_namespace() {
    let shared = |kind: &'static str, key: &'static str| {
        understand(move |c| {
            let all = c["linux"]["namespaces"].as_array_mut().unwrap();
            all.retain(|namespace| namespace["type"] != kind);
            c["linux"]["sysctl"] = json!({ key: "1" });
            c["hostname"] = Value::Null;
        })
    };
    for (kind, key) in [
        ("network", "net.core.somaxconn"),
        ("ipc", "fs.mqueue.msg_max"),
        ("uts", "kernel.domainname"),
    ] {
        assert!(shared("none", key).is_ok(), "{key}");
        let error = shared(kind, key).unwrap_err().to_string();
        assert!(error.contains("namespace of the container's own"), "{error}");
    }
    assert!(
        understand(|c| c["linux"]["namespaces"]
            .as_array_mut()
            .unwrap()
            .retain(|n| n["type"] != "uts"))
        .is_err()
    );
}

#[test]
fn places_of_cgroups() {
    let place = |path: &str| cgroup_path(Path::new(path)).ok();
    let expected = |parent: &str, name: &str| Some((parent.to_owned(), name.to_owned()));
    assert_eq!(place("/docker/abc"), expected("docker", "abc"));
    assert_eq!(place("abc"), expected("", "abc"));
    assert_eq!(place("/a//./b/c/"), expected("a/b", "c"));
    for bad in ["", "/", "/a/../b", "..", "system.slice:docker:abc"] {
        assert_eq!(place(bad), None, "{bad}");
    }
}

#[test]
fn device_rules() {
    let policy = |rules: Value| {
        understand(|c| c["linux"]["resources"]["devices"] = rules)
            .unwrap()
            .resources
            .devices
    };
    let deny = json!({ "allow": false, "access": "rwm" });
    assert_eq!(policy(json!([])), DevicePolicy::Default);
    assert_eq!(policy(json!([deny])), DevicePolicy::Default);
    assert_eq!(
        policy(json!([deny, { "allow": true, "access": "rwm" }])),
        DevicePolicy::All
    );
    assert_eq!(
        policy(json!([{ "allow": true, "access": "rwm", "type": "a", "major": -1, "minor": -1 }])),
        DevicePolicy::All
    );
    // What dockerd writes for a container without devices of its own.
    let node = json!({ "allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm" });
    assert_eq!(policy(json!([deny, node])), DevicePolicy::Default);
    let fuse = json!({ "allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw" });
    let DevicePolicy::Rules(rules) = policy(json!([deny, fuse])) else {
        panic!("no rules")
    };
    assert_eq!(rules[0].to_string(), "c 10:229 rw");
    assert!(rules.len() > 5, "the default devices are there too: {rules:?}");
}

#[test]
fn limits_that_only_cgroup_v2_has() {
    let limits = |layout: &Layout| {
        let spec = json!({ "cpu": { "idle": 1 }, "hugepageLimits": [{ "pageSize": "2MB", "limit": 4096 }] });
        resources(&serde_json::from_value(spec).unwrap(), layout)
    };
    let unified = limits(&Layout::Unified).unwrap().unified;
    assert_eq!(unified["cpu.idle"], "1");
    assert_eq!(unified["hugetlb.2MB.max"], "4096");
    let error = limits(&Layout::Legacy(vec!["cpu".into()])).unwrap_err().to_string();
    assert!(error.contains("needs cgroup v2"), "{error}");
}

#[test]
fn capabilities_and_filters_of_a_config() {
    let bundle = understand(|c| {
        let ambient = json!(["CAP_KILL"]);
        c["process"]["capabilities"]["ambient"] = ambient.clone();
        c["process"]["capabilities"]["inheritable"] = ambient;
        c["linux"]["seccomp"] = json!({ "defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{ "names": ["read"], "action": "SCMP_ACT_ALLOW" }] });
    })
    .unwrap();
    let process = &bundle.container.process;
    let kill = Set::of(&[crate::capability::Capability::KILL]).bits();
    // What this process itself lacks is left out and told of.
    let available = process.capabilities.bounding & kill == kill;
    assert_eq!(process.capabilities.ambient, if available { kill } else { 0 });
    assert_eq!(
        bundle.warnings.is_empty(),
        process.capabilities.bounding.count_ones() == 3
    );
    assert!(
        process
            .seccomp
            .as_ref()
            .is_some_and(|filter| filter.instructions.len() > 5)
    );
}

proptest::proptest! {
    #[test]
    fn any_config_is_read_or_refused(path in "[a-zA-Z]{1,12}", value in "\\PC{0,40}") {
        let _ = understand(|config| config["linux"][&path] = json!(value));
        let _ = understand(|config| config["process"][&path] = json!([value]));
        let _ = cgroup_path(Path::new(&value));
    }
}
