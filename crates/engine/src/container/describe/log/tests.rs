use hull_monitor::{SyslogAddress, SyslogFormat};

use super::*;
use crate::Settings;

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn record(driver: &str, options: &[(&str, &str)]) -> Record {
    let digest = hull_spec::Digest::sha256(&[7; 32]).to_string();
    let mut record: Record = serde_json::from_value(serde_json::json!({
        "Id": ID, "Name": "web", "Created": "", "ImageId": digest, "Manifest": digest, "Layers": [], "Platform": "",
        "Config": {}, "HostConfig": {}, "NetworkingConfig": {}, "Mounts": [],
    }))
    .unwrap();
    record.config.image = "busybox".to_owned();
    record.config.env = vec!["Z=1".to_owned(), "PATH=/bin".to_owned(), "odd".to_owned()];
    record.config.cmd = Some(vec!["sh".to_owned(), "-c".to_owned()]);
    record.config.labels = [("a", "b"), ("com.x", "y")]
        .map(|(n, v)| (n.to_owned(), v.to_owned()))
        .into();
    record.host_config.log_config.driver = driver.to_owned();
    record.host_config.log_config.config = options
        .iter()
        .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
        .collect();
    record
}

fn made(config: &str, driver: &str, options: &[(&str, &str)]) -> Result<LogPlan> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("config.toml"), config).unwrap();
    let engine = Engine::open(&Settings {
        root: "/data".into(),
        run_root: "/run".into(),
        config: folder.path().join("config.toml"),
        rootless: false,
        resident: false,
    });
    log(&engine, &record(driver, options))
}

fn file(driver: &str, options: &[(&str, &str)]) -> LogFile {
    made("", driver, options).unwrap().file.unwrap()
}

#[test]
fn files_are_bounded_unless_told_otherwise() {
    let json = file("", &[]);
    assert_eq!(json.path, PathBuf::from(format!("/data/containers/{ID}/{ID}-json.log")));
    assert_eq!(
        (json.form, json.max_size, json.max_files, json.compress),
        (LogForm::JsonFile, Some(10_000_000), 3, false)
    );
    let local = file("local", &[]);
    assert_eq!(
        local.path,
        PathBuf::from(format!("/data/containers/{ID}/{ID}-local.log"))
    );
    assert_eq!(
        (local.form, local.max_size, local.max_files, local.compress),
        (LogForm::Local, Some(20 << 20), 5, true)
    );
    let json = file("json-file", &[("max-size", "2k"), ("max-file", "4"), ("compress", "1")]);
    assert_eq!((json.max_size, json.max_files, json.compress), (Some(2000), 4, true));
    let json = file("json-file", &[("max-size", "-1"), ("max-file", "1")]);
    assert_eq!((json.max_size, json.max_files), (None, 1));
    let local = file("local", &[("max-size", "2k"), ("max-file", "1")]);
    assert_eq!((local.max_size, local.compress), (Some(2048), false));
}

#[test]
fn labels_variables_and_the_tag_become_attributes() {
    for (options, expected) in [
        (&[("labels", "a,none"), ("env", "Z")][..], "Z=1 a=b"),
        (&[("labels-regex", "^com"), ("env-regex", "TH$")], "PATH=/bin com.x=y"),
        (&[("tag", "t-{{.Name}}")], "tag=t-web"),
        (
            &[(
                "tag",
                "{{.ID}}/{{upper .ImageName}}/{{.Command}}/{{truncate .FullID 3}}",
            )],
            "tag=0123456789ab/BUSYBOX/sh -c/012",
        ),
        (&[("labels", "odd")], ""),
    ] {
        let shown = |attributes: BTreeMap<String, String>| {
            let all: Vec<_> = attributes.iter().map(|(n, v)| format!("{n}={v}")).collect();
            all.join(" ")
        };
        assert_eq!(shown(file("json-file", options).attributes), expected, "{options:?}");
        let engine = Engine::open(&Settings {
            root: "/data".into(),
            run_root: "/run".into(),
            config: "/no/such".into(),
            rootless: false,
            resident: false,
        });
        assert_eq!(shown(attributes(&engine, &record("local", options)).unwrap()), expected);
    }
}

#[test]
fn what_cannot_be_is_refused_in_dockers_words() {
    let opening = "failed to create task for container: failed to initialize logging driver: ";
    for (driver, options, expected) in [
        (
            "foo",
            &[][..],
            "error looking up logging plugin foo: plugin \"foo\" not found",
        ),
        (
            "gelf",
            &[],
            "log driver `gelf` is not part of hull: use one of journald, json-file, local, none, syslog",
        ),
        ("", &[("foo", "bar")], "unknown log opt 'foo' for json-file log driver"),
        ("local", &[("foo", "bar")], "unknown log opt 'foo' for log driver local"),
        (
            "journald",
            &[("max-size", "1m")],
            "unknown log opt 'max-size' for journald log driver",
        ),
        (
            "syslog",
            &[("max-size", "1m")],
            "unknown log opt 'max-size' for syslog log driver",
        ),
        ("", &[("max-size", "10x")], "+invalid size: '10x'"),
        ("", &[("max-size", "0")], "+max-size must be a positive number"),
        ("", &[("max-file", "0")], "+max-file cannot be less than 1"),
        ("", &[("max-file", "x")], "+strconv.Atoi: parsing \"x\": invalid syntax"),
        (
            "",
            &[("compress", "maybe")],
            "+strconv.ParseBool: parsing \"maybe\": invalid syntax",
        ),
        (
            "",
            &[("compress", "true"), ("max-file", "1")],
            "+compress cannot be true when max-file is less than 2 or max-size is not set",
        ),
        ("", &[("mode", "foo")], "logger: logging mode not supported: foo"),
        (
            "",
            &[("max-buffer-size", "3m")],
            "logger: max-buffer-size option is only supported with 'mode=non-blocking'",
        ),
        (
            "",
            &[("mode", "non-blocking"), ("max-buffer-size", "x")],
            "error parsing option max-buffer-size: invalid size: 'x'",
        ),
        (
            "",
            &[("cache-disabled", "x")],
            "invalid value for option cache-disabled: x",
        ),
        (
            "syslog",
            &[("cache-max-size", "x"), ("syslog-address", "udp://127.0.0.1")],
            "+invalid size: 'x'",
        ),
        ("syslog", &[("syslog-facility", "xx")], "invalid syslog facility"),
        ("syslog", &[("syslog-format", "foo")], "Invalid syslog format"),
        (
            "syslog",
            &[("syslog-tls-key", "x")],
            "log opt 'syslog-tls-key' is not there yet: use unix, unixgram, udp or tcp, with a relay on this host for TLS",
        ),
    ] {
        let error = made("", driver, options).unwrap_err().to_string();
        let expected = match expected.strip_prefix('+') {
            Some(rest) => format!("{opening}{rest}"),
            None => expected.to_owned(),
        };
        assert_eq!(error, expected, "{driver} {options:?}");
    }
    for (options, words) in [
        (&[("labels-regex", "(")][..], "error parsing regexp: "),
        (&[("tag", "{{.Foo}}")], "template: log-tag: "),
    ] {
        let error = made("", "", options).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{opening}{words}")), "{error}");
    }
}

#[test]
fn targets_have_a_local_copy_unless_told_otherwise() {
    let plan = made(
        "",
        "syslog",
        &[
            ("syslog-address", "udp://127.0.0.1:5"),
            ("syslog-format", "rfc3164"),
            ("tag", "x"),
            ("cache-max-file", "2"),
        ],
    )
    .unwrap();
    let copy = plan.file.unwrap();
    assert_eq!((copy.form, copy.max_files, copy.compress), (LogForm::Local, 2, true));
    let Some(LogTarget::Syslog(syslog)) = plan.target else {
        panic!()
    };
    assert_eq!(syslog.addresses, [SyslogAddress::Udp("127.0.0.1:5".parse().unwrap())]);
    assert_eq!(
        (syslog.format, syslog.facility, syslog.tag.as_str()),
        (SyslogFormat::Rfc3164, 3, "x")
    );
    assert_eq!(plan.buffer, None);

    let plan = made(
        "",
        "journald",
        &[
            ("cache-disabled", "true"),
            ("labels", "com.x"),
            ("mode", "non-blocking"),
            ("max-buffer-size", "2k"),
        ],
    )
    .unwrap();
    assert_eq!((plan.file, plan.buffer), (None, Some(2048)));
    let Some(LogTarget::Journald(journald)) = plan.target else {
        panic!()
    };
    let fields: Vec<_> = journald.fields.iter().map(|(n, v)| format!("{n}={v}")).collect();
    let id = format!("CONTAINER_ID_FULL={ID}");
    assert_eq!(
        fields,
        [
            "COM_X=y",
            "CONTAINER_ID=0123456789ab",
            &id,
            "CONTAINER_NAME=web",
            "CONTAINER_TAG=0123456789ab",
            "IMAGE_NAME=busybox",
            "SYSLOG_IDENTIFIER=0123456789ab"
        ]
    );
    assert_eq!(journal_name("__a-b.c9\u{e4}"), "A_B_C9_");
}

#[test]
fn the_configuration_gives_the_default() {
    let config = "[log]\ndriver = 'local'\noptions = { max-size = '3k', cache-max-file = '4' }\n";
    let plan = |driver, options| made(config, driver, options).unwrap();
    let local = plan("", &[]).file.unwrap();
    assert_eq!((local.form, local.max_size), (LogForm::Local, Some(3072)));
    let local = plan("local", &[("max-size", "1k")]).file.unwrap();
    assert_eq!(local.max_size, Some(1024));
    let json = plan("json-file", &[]).file.unwrap();
    assert_eq!((json.form, json.max_size), (LogForm::JsonFile, Some(10_000_000)));
    let copy = plan("syslog", &[("syslog-address", "udp://127.0.0.1:5")]).file.unwrap();
    assert_eq!((copy.max_size, copy.max_files), (Some(20 << 20), 4));
    assert_eq!(plan("none", &[]), LogPlan::default());
}

#[test]
fn a_plan_survives_being_written_down() {
    let plan = made(
        "",
        "syslog",
        &[("syslog-address", "tcp://127.0.0.1:5"), ("mode", "non-blocking")],
    )
    .unwrap();
    let text = serde_json::to_string(&plan).unwrap();
    assert_eq!(serde_json::from_str::<LogPlan>(&text).unwrap(), plan);
}
