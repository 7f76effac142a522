//! Whole files, and the units that come of them.

use super::*;

fn source(name: &str, text: &str) -> Source {
    Source {
        name: name.to_owned(),
        path: format!("/etc/containers/systemd/{name}"),
        unit: Unit::parse(text).unwrap(),
    }
}

fn made(files: &[(&str, &str)]) -> (Vec<Service>, Vec<String>) {
    let sources: Vec<Source> = files.iter().map(|(name, text)| source(name, text)).collect();
    let around = Surroundings {
        program: "/usr/bin/hull",
        user: false,
        exists: &|path| path == "/dev/there",
    };
    generate(&sources, &around)
}

fn text(files: &[(&str, &str)], name: &str) -> String {
    let (services, errors) = made(files);
    assert_eq!(errors, Vec::<String>::new());
    services.into_iter().find(|s| s.name == name).unwrap().text
}

#[test]
fn a_container_becomes_a_service() {
    let web = "[Unit]\nDescription=Web\n[Container]\nImage=docker.io/library/nginx\nPublishPort=8080:80\n\
               Volume=data.volume:/data\nVolume=./conf:/etc/conf:ro\nEnvironment=A=b \"C=d e\"\nLabel=x=y\nUser=1\nGroup=2\n\
               ReadOnly=true\nAddDevice=-/dev/gone\nAddDevice=-/dev/there\nExec=serve --now \"a b\"\n\
               PodmanArgs=--cpus 2\nNoNewPrivileges=yes\n[Service]\nRestart=always\n[Install]\nWantedBy=multi-user.target\n";
    let files = [
        ("web.container", web),
        ("data.volume", "[Volume]\nUser=5\nOptions=noatime\n"),
    ];
    insta::assert_snapshot!(text(&files, "web.service"), @r#"
    [Unit]
    Wants=network-online.target
    After=network-online.target
    Description=Web
    Requires=data-volume.service
    After=data-volume.service
    SourcePath=/etc/containers/systemd/web.container

    [X-Container]
    Image=docker.io/library/nginx
    PublishPort=8080:80
    Volume=data.volume:/data
    Volume=./conf:/etc/conf:ro
    Environment=A=b "C=d e"
    Label=x=y
    User=1
    Group=2
    ReadOnly=true
    AddDevice=-/dev/gone
    AddDevice=-/dev/there
    Exec=serve --now "a b"
    PodmanArgs=--cpus 2
    NoNewPrivileges=yes

    [Service]
    Restart=always
    Type=notify
    NotifyAccess=main
    KillMode=mixed
    ExecStartPre=-/usr/bin/hull rm -f -v systemd-%N
    ExecStart=/usr/bin/hull run --rm --name systemd-%N --sdnotify conmon --device /dev/there --env A=b --env "C=d e" --label x=y --security-opt no-new-privileges --publish 8080:80 --read-only --volume systemd-data:/data --volume /etc/containers/systemd/conf:/etc/conf:ro --cpus 2 --user 1:2 --tmpfs /run --tmpfs /tmp --tmpfs /var/tmp docker.io/library/nginx serve --now "a b"
    ExecStop=-/usr/bin/hull stop systemd-%N
    ExecStopPost=-/usr/bin/hull rm -f -v systemd-%N
    SuccessExitStatus=143
    SyslogIdentifier=%N

    [Install]
    WantedBy=multi-user.target
    "#);
    insta::assert_snapshot!(text(&files, "data-volume.service"), @r#"
    [X-Volume]
    User=5
    Options=noatime

    [Service]
    ExecStart=/usr/bin/hull volume create --opt o=uid=5,noatime systemd-data
    Type=oneshot
    RemainAfterExit=yes
    SyslogIdentifier=%N

    [Unit]
    Wants=network-online.target
    After=network-online.target
    SourcePath=/etc/containers/systemd/data.volume
    "#);
    let (services, _) = made(&files);
    assert_eq!(services[0].links, ["multi-user.target.wants/web.service"]);
}

#[test]
fn a_pod_is_started_before_its_containers_and_ends_with_its_infra_container() {
    let files = [
        ("shop.pod", "[Pod]\nPublishPort=8080:80\n"),
        (
            "web.container",
            "[Container]\nImage=i.image\nPod=shop.pod\n[Quadlet]\nDefaultDependencies=false\n",
        ),
        (
            "late.container",
            "[Container]\nImage=x\nPod=shop.pod\nStartWithPod=no\n",
        ),
        ("i.image", "[Image]\nImage=quay.io/x/y\nArch=arm64\n"),
    ];
    insta::assert_snapshot!(text(&files, "shop-pod.service"), @r#"
    [X-Pod]
    PublishPort=8080:80

    [Unit]
    Wants=network-online.target
    After=network-online.target
    Before=late.service
    Wants=web.service
    Before=web.service
    SourcePath=/etc/containers/systemd/shop.pod

    [Service]
    ExecStartPre=/usr/bin/hull pod create --replace --infra-name systemd-shop-infra --name systemd-shop --publish 8080:80
    ExecStartPre=/usr/bin/hull pod start systemd-shop
    ExecStart=/usr/bin/hull wait systemd-shop-infra
    ExecStop=/usr/bin/hull pod stop --ignore --time 10 systemd-shop
    ExecStopPost=/usr/bin/hull pod rm --ignore --force systemd-shop
    Type=exec
    Restart=on-failure
    SyslogIdentifier=%N
    "#);
    insta::assert_snapshot!(text(&files, "web.service"), @r#"
    [X-Container]
    Image=i.image
    Pod=shop.pod

    [Unit]
    BindsTo=shop-pod.service
    After=shop-pod.service
    Requires=i-image.service
    After=i-image.service
    SourcePath=/etc/containers/systemd/web.container

    [Service]
    Type=notify
    NotifyAccess=main
    KillMode=mixed
    ExecStartPre=-/usr/bin/hull rm -f -v systemd-%N
    ExecStart=/usr/bin/hull run --rm --name systemd-%N --sdnotify conmon --pod systemd-shop quay.io/x/y
    ExecStop=-/usr/bin/hull stop systemd-%N
    ExecStopPost=-/usr/bin/hull rm -f -v systemd-%N
    SuccessExitStatus=143
    SyslogIdentifier=%N
    "#);
    insta::assert_snapshot!(text(&files, "i-image.service"), @r#"
    [X-Image]
    Image=quay.io/x/y
    Arch=arm64

    [Service]
    ExecStart=/usr/bin/hull pull --platform linux/arm64 quay.io/x/y
    Type=oneshot
    RemainAfterExit=yes
    SyslogIdentifier=%N

    [Unit]
    Wants=network-online.target
    After=network-online.target
    SourcePath=/etc/containers/systemd/i.image
    "#);
}

#[test]
fn names_follow_podmans() {
    let names = |file: &str, text: &str| {
        let (services, errors) = made(&[(file, text)]);
        assert_eq!(errors, Vec::<String>::new());
        (services[0].name.clone(), services[0].links.clone())
    };
    let install = "[Install]\nWantedBy=a.target b.target\nAlias=other.service\nRequiredBy=c.target\n";
    let container = format!("[Container]\nImage=x\nServiceName=own\n{install}");
    assert_eq!(
        names("web.container", &container),
        (
            "own.service".to_owned(),
            [
                "other.service",
                "a.target.wants/own.service",
                "b.target.wants/own.service",
                "c.target.requires/own.service"
            ]
            .map(str::to_owned)
            .to_vec()
        )
    );
    let template = "[Container]\nImage=x\n[Install]\nWantedBy=a.target\nDefaultInstance=1\n";
    assert_eq!(
        names("web@.container", template),
        (
            "web@.service".to_owned(),
            vec!["a.target.wants/web@1.service".to_owned()]
        )
    );
    assert_eq!(names("v.volume", "[Volume]\n").0, "v-volume.service");
    assert_eq!(names("v@.volume", "[Volume]\n").0, "v-volume@.service");
}

#[test]
fn what_cannot_be_is_reported_with_its_file() {
    for (name, text, says) in [
        ("a.container", "[Container]\n", "no Image= key specified"),
        ("a.container", "[Unit]\n", "it has no section [Container]"),
        (
            "a.container",
            "[Container]\nImage=x\nWat=1",
            "unsupported key 'Wat' in group 'Container'",
        ),
        (
            "a.container",
            "[Container]\nImage=x\n[Pod]",
            "a .container file has no section [Pod]",
        ),
        ("a.container", "[Container]\nImage=x\nSecret=s", "Secret= is not there"),
        (
            "a.container",
            "[Container]\nImage=x\nAutoUpdate=registry",
            "AutoUpdate= is not there",
        ),
        ("a.container", "[Container]\nImage=x\nNotify=true", "Notify="),
        (
            "a.container",
            "[Container]\nImage=x\nGroup=1",
            "invalid Group set without User",
        ),
        (
            "a.container",
            "[Container]\nImage=x\nReadOnly=perhaps",
            "ReadOnly=: `perhaps` is neither",
        ),
        (
            "a.container",
            "[Container]\nImage=x\nEnvironment=\"A",
            "Environment=: unbalanced quotes",
        ),
        (
            "a.container",
            "[Container]\nImage=x\nVolume=no.volume:/x",
            "requested Quadlet unit no.volume was not found",
        ),
        (
            "a.container",
            "[Container]\nImage=x\nNetwork=n.network",
            "hull has no command for .network files yet",
        ),
        (
            "a.container",
            "[Container]\nImage=b.build",
            "hull has no command for .build files yet",
        ),
        (
            "a.container",
            "[Container]\nImage=x\nPod=p",
            "pod p is not Quadlet based",
        ),
        (
            "a.container",
            "[Container]\nImage=x\n[Service]\nType=forking",
            "invalid service Type 'forking'",
        ),
        (
            "a.container",
            "[Container]\nImage=x\n[Service]\nKillMode=none",
            "invalid KillMode 'none'",
        ),
        ("a.network", "[Network]\n", "hull has no command for .network files yet"),
        (
            "a.build",
            "[Build]\nImageTag=x\n",
            "hull has no command for .build files yet",
        ),
        ("a.kube", "[Kube]\nYaml=x\n", "hull has no command for .kube files yet"),
        (
            "a.pod",
            "[Pod]\nVolume=/a:/b\n",
            "Volume= is not there: give it to the pod's containers",
        ),
        ("a.volume", "[Volume]\nImage=x\n", "Image= is not there"),
        ("a.image", "[Image]\n", "no Image= key specified"),
        ("a.image", "[Image]\nImage=x\nOS=linux\n", "need Arch="),
    ] {
        let (services, errors) = made(&[(name, text)]);
        assert!(services.is_empty(), "{name} {text}");
        assert!(
            errors[0].starts_with(&format!("/etc/containers/systemd/{name}: ")),
            "{errors:?}"
        );
        assert!(errors[0].contains(says), "{text}: {errors:?}");
    }
}

/// systemd's own reading of all that comes out, where systemd is there.
#[test]
fn systemd_takes_the_units() {
    let files = [
        (
            "web.container",
            "[Container]\nImage=x\nExec=sh -c \"echo 'a b'; echo \\\"$HOME\\\"\"\nPod=p.pod\nVolume=v.volume:/v\n",
        ),
        ("p.pod", "[Pod]\nPublishPort=80\n"),
        ("v.volume", "[Volume]\nLabel=\"a=b c\"\n"),
        ("t@.container", "[Container]\nImage=x\nExec=sleep %i\n"),
    ];
    let folder = tempfile::tempdir().unwrap();
    let program = std::env::current_exe().unwrap().display().to_string();
    let sources: Vec<Source> = files.iter().map(|(name, text)| source(name, text)).collect();
    let around = Surroundings {
        program: &program,
        user: false,
        exists: &|_| false,
    };
    let (services, errors) = generate(&sources, &around);
    assert_eq!(errors, Vec::<String>::new());
    let mut command = std::process::Command::new("systemd-analyze");
    command.args(["verify", "--man=no", "--recursive-errors=no"]);
    command.env("SYSTEMD_UNIT_PATH", format!("{}:", folder.path().display()));
    for service in services {
        std::fs::write(folder.path().join(&service.name), &service.text).unwrap();
        let name = service.name.replace("@.", "@1.");
        if name != service.name {
            std::os::unix::fs::symlink(&service.name, folder.path().join(&name)).unwrap();
        }
        command.arg(folder.path().join(name));
    }
    // Without systemd there is nothing to ask.
    let Ok(done) = command.output() else { return };
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    let ours: Vec<&str> = said
        .lines()
        .filter(|line| line.contains(&*folder.path().to_string_lossy()))
        .collect();
    assert!(ours.is_empty() && done.status.success(), "{said}");
}
