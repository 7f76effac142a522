//! What a process in a container can see and do.

use crate::{machine, shell, words};

#[test]
fn privileged_a_process_is_alone() {
    let Some((host, image)) = machine() else { return };
    let script = "echo $$; ls /proc | grep -c '^[0-9]*$'; ls /proc/self/fd | wc -l; ls /sys/class/net | tr '\\n' ' '";
    let seen = host.ok(shell(&format!("run --rm {image}"), script));
    let seen: Vec<_> = seen.lines().collect();
    assert_eq!(seen[0], "1");
    // The shell, and what runs in the pipeline beside it.
    assert!(seen[1].parse::<u32>().unwrap() <= 3, "processes seen: {}", seen[1]);
    assert_eq!(seen[2], "4", "0, 1, 2 and the folder that ls reads");
    assert_eq!(seen[3].trim(), "eth0 lo");
    let name = host.ok(["run", "--rm", &image, "hostname"]);
    assert_eq!(name.len(), 12, "the short ID is the host name: {name}");
}

#[test]
fn privileged_privileges_are_dockers() {
    let Some((host, image)) = machine() else { return };
    let status = |flags: &str, field: &str| {
        let run = format!("run --rm {flags} {image} grep {field}: /proc/self/status");
        host.ok(words(&run)).split_whitespace().nth(1).unwrap().to_owned()
    };
    assert_eq!(status("", "CapEff"), "00000000a80425fb");
    assert_eq!(status("", "CapBnd"), "00000000a80425fb");
    assert_eq!(status("", "CapInh"), "0000000000000000", "CVE-2022-24769");
    assert_eq!(status("-u app", "CapEff"), "0000000000000000");
    assert_eq!(status("--cap-drop ALL", "CapBnd"), "0000000000000000");
    assert_eq!(
        status("--cap-drop ALL --cap-add NET_ADMIN", "CapEff"),
        "0000000000001000"
    );
    assert_eq!(status("--cap-add SYS_ADMIN", "CapEff"), "00000000a82425fb");
    assert_eq!(status("", "Seccomp"), "2");
    assert_eq!(status("--security-opt seccomp=unconfined", "Seccomp"), "0");
    assert_eq!(status("--privileged", "Seccomp"), "0");
    assert_eq!(status("", "NoNewPrivs"), "0");
    assert_eq!(status("--security-opt no-new-privileges", "NoNewPrivs"), "1");
    let full = u64::from_str_radix(&status("--privileged", "CapEff"), 16).unwrap();
    assert_eq!(full & 0xa804_25fb, 0xa804_25fb);
    assert!(full.count_ones() > 30, "{full:x}");
}

#[test]
fn privileged_the_kernel_is_out_of_reach() {
    let Some((host, image)) = machine() else { return };
    let fails = |script: &str| {
        let run = host.hull(shell(&format!("run --rm {image}"), &format!("{script} && echo DONE")));
        assert!(!run.stdout.contains("DONE"), "`{script}` works in a container: {run:?}");
    };
    fails("echo x > /proc/sys/kernel/domainname");
    fails("echo x > /proc/sysrq-trigger");
    fails("test -s /proc/kcore");
    fails("mount -t tmpfs none /tmp");
    fails("unshare -U true");
    fails("mknod /tmp/disk b 8 0 && head -c1 /tmp/disk");
    fails("mknod /tmp/mem c 1 1 && head -c1 /tmp/mem");
    fails("mkdir /sys/fs/cgroup/x 2>/dev/null || mkdir /sys/fs/cgroup/memory/x");
    fails("hostname other");
    fails("ip link add dummy0 type dummy");
    fails("dmesg -c 2>/dev/null");
    fails("echo 1 > /sys/kernel/uevent_helper");
    let devices = host.ok(shell(&format!("run --rm {image}"), "ls /dev | tr '\\n' ' '"));
    assert_eq!(
        devices.trim(),
        "core fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero"
    );
}

#[test]
fn privileged_masked_paths_are_empty_and_read_only_ones_are() {
    let Some((host, image)) = machine() else { return };
    let script = "for f in /proc/keys /proc/timer_list /proc/kcore; do [ -e $f ] && [ -s $f ] && echo $f; done; \
                  ls /proc/acpi /proc/scsi /sys/firmware 2>/dev/null | grep -v ':$' | grep .; \
                  awk '$5 ~ \"^/proc/(bus|fs|irq|sys)$\" {print $5, $6}' /proc/self/mountinfo | grep -v ' ro'; true";
    assert_eq!(host.ok(shell(&format!("run --rm {image}"), script)), "");
}

#[test]
fn privileged_file_systems_of_flags() {
    let Some((host, image)) = machine() else { return };
    let shared = host.path("shared");
    std::fs::create_dir(&shared).unwrap();
    std::fs::write(shared.join("in"), "from the host").unwrap();
    let bind = format!("{}:/mnt", shared.display());
    assert_eq!(
        host.ok([
            "run",
            "--rm",
            "-v",
            &bind,
            &image,
            "sh",
            "-c",
            "cat /mnt/in; echo back > /mnt/out"
        ]),
        "from the host"
    );
    assert_eq!(std::fs::read_to_string(shared.join("out")).unwrap(), "back\n");
    let read_only = format!("{bind}:ro");
    host.hull(["run", "--rm", "-v", &read_only, &image, "touch", "/mnt/x"])
        .fails(1)
        .says("Read-only");
    let mount = format!("type=bind,src={},dst=/mnt/in,readonly", shared.join("in").display());
    assert_eq!(
        host.ok(["run", "--rm", "--mount", &mount, &image, "cat", "/mnt/in"]),
        "from the host",
        "a file, too"
    );
    host.hull([
        "run",
        "--rm",
        "--mount",
        "type=bind,src=/no/such,dst=/mnt",
        &image,
        "true",
    ])
    .fails(125)
    .says("/no/such");
    host.hull(words(&format!("run --rm --read-only {image} touch /x")))
        .fails(1)
        .says("Read-only");
    let run = "run --rm --read-only --tmpfs /scratch:size=64k,mode=1777 --tmpfs /tmp";
    host.ok(words(&format!("{run} {image} touch /tmp/x /dev/shm/x /scratch/x")));
    let fill = "head -c 100000 /dev/zero > /scratch/x || wc -c < /scratch/x";
    let size = host.ok(shell(&format!("{run} {image}"), fill));
    assert_eq!(size, "65536", "a tmpfs ends where its flag says");
    let df = host.ok(words(&format!("run --rm --shm-size 128k {image} df -k /dev/shm")));
    assert_eq!(df.lines().last().unwrap().split_whitespace().nth(1), Some("128"));
}
