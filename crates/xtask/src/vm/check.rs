//! What is checked in the machine: names, in whose order they run, and scripts for `sh -e`. Containers that a check
//! leaves are removed after it.

pub(super) const ALL: &[(&str, &str)] = &[
    ("info", "hull info | grep 'Cgroup Version: 2'"),
    ("run", r#"[ "$(hull run --rm $IMAGE echo hi)" = hi ]"#),
    (
        "own-cgroup",
        r#"[ "$(hull run --rm $IMAGE cat /proc/self/cgroup)" = 0::/ ]
        [ "$(hull run --rm --cgroupns host $IMAGE cat /proc/self/cgroup | cut -c1-8)" = 0::/hull ]
        hull run --rm --cgroup-parent /other --cgroupns host $IMAGE grep ^0::/other/ /proc/self/cgroup
        [ -z "$(find /sys/fs/cgroup/other -mindepth 1 -type d)" ]"#,
    ),
    (
        "cgroup-mount",
        r#"hull run --rm $IMAGE sh -ec '
            grep -x $$ /sys/fs/cgroup/cgroup.procs
            test -e /sys/fs/cgroup/memory.max
            if mkdir /sys/fs/cgroup/x || echo 1 >/sys/fs/cgroup/cgroup.kill; then exit 1; fi
            grep " /sys/fs/cgroup ro,.* cgroup2 " /proc/self/mountinfo || grep "cgroup2 ro\|/sys/fs/cgroup cgroup2 ro" /proc/mounts'
        hull run --rm --privileged $IMAGE mkdir -p /sys/fs/cgroup/x/y"#,
    ),
    (
        "limit-memory",
        r#"[ "$(hull run --rm -m 32m $IMAGE cat /sys/fs/cgroup/memory.max)" = 33554432 ]
        [ "$(hull run --rm -m 32m --memory-swap 48m $IMAGE cat /sys/fs/cgroup/memory.swap.max)" = 16777216 ]
        [ "$(hull run --rm --memory-reservation 16m $IMAGE cat /sys/fs/cgroup/memory.low)" = 16777216 ]"#,
    ),
    (
        "limit-cpu",
        r#"[ "$(hull run --rm --cpus 0.5 $IMAGE cat /sys/fs/cgroup/cpu.max)" = "50000 100000" ]
        [ "$(hull run --rm --cpuset-cpus 1 $IMAGE cat /sys/fs/cgroup/cpuset.cpus.effective)" = 1 ]
        [ "$(hull run --rm --cpuset-cpus 1 $IMAGE nproc)" = 1 ]
        [ "$(hull run --rm --cpu-shares 1024 $IMAGE cat /sys/fs/cgroup/cpu.weight)" = 100 ]
        [ "$(hull run --rm --cpu-shares 2 $IMAGE cat /sys/fs/cgroup/cpu.weight)" = 1 ]"#,
    ),
    (
        "limit-pids",
        r#"[ "$(hull run --rm --pids-limit 17 $IMAGE cat /sys/fs/cgroup/pids.max)" = 17 ]
        many='i=0; while [ $i -lt 20 ]; do sleep 2 & i=$((i+1)); done; echo all'
        if hull run --rm --pids-limit 10 $IMAGE sh -c "$many" | grep all; then exit 1; fi
        hull run --rm --pids-limit 40 $IMAGE sh -c "$many" | grep all"#,
    ),
    (
        "oom",
        r#"code=0; hull run --name hungry -m 16m --memory-swap 16m $IMAGE sh -c 'a=x; while :; do a=$a$a; done' || code=$?
        [ $code = 137 ]
        [ "$(hull inspect -f '{{.State.OOMKilled}} {{.State.ExitCode}}' hungry)" = "true 137" ]
        hull run --name modest -m 16m $IMAGE true
        [ "$(hull inspect -f '{{.State.OOMKilled}}' modest)" = false ]"#,
    ),
    (
        "device-default",
        r#"hull run --rm $IMAGE sh -ec '
            cat /dev/null; echo x >/dev/null
            mknod /tmp/disk b 8 0; mknod /tmp/serial c 4 64
            for node in disk serial; do
                if cat /tmp/$node 2>/tmp/said; then exit 1; fi
                grep "Operation not permitted" /tmp/said
            done'"#,
    ),
    (
        "device-given",
        r#"[ "$(hull run --rm --device /dev/zero:/dev/foo $IMAGE sh -c 'head -c 3 /dev/foo | wc -c')" = 3 ]
        hull run --rm --device /dev/ttyS0:/dev/foo $IMAGE sh -c ': </dev/foo && : >/dev/foo'
        hull run --rm --device /dev/ttyS0:/dev/foo:r $IMAGE sh -ec '
            : </dev/foo
            if (: >/dev/foo) 2>/tmp/said; then exit 1; fi
            grep "not permitted" /tmp/said'"#,
    ),
    (
        "device-privileged",
        "hull run --rm --privileged $IMAGE sh -ec 'mknod /tmp/serial c 4 64; : </tmp/serial'",
    ),
    (
        "exec",
        r#"id=$(hull run -d --name cc -m 64m $IMAGE sleep 1000)
        [ "$(hull exec cc cat /proc/self/cgroup)" = 0::/ ]
        [ "$(hull exec cc readlink /proc/self/ns/cgroup)" = "$(hull exec cc readlink /proc/1/ns/cgroup)" ]
        hull exec cc sh -ec 'grep -x $$ /sys/fs/cgroup/cgroup.procs; mknod /tmp/disk b 8 0; if cat /tmp/disk; then exit 1; fi'
        hull exec -d cc sleep 3333
        find='$2 == "sleep" && $3 == 3333 { print $1 }'
        until pid=$(ps -o pid,args | awk "$find"); [ -n "$pid" ]; do usleep 100000; done
        [ "$(cat /proc/$pid/cgroup)" = 0::/hull/$id ]
        hull rm -f cc
        [ ! -d /proc/$pid ]
        [ ! -e /sys/fs/cgroup/hull/$id ]"#,
    ),
    (
        "exec-cgroupns-host",
        r#"id=$(hull run -d --name cc --cgroupns host $IMAGE sleep 1000)
        [ "$(hull exec cc cat /proc/self/cgroup)" = 0::/hull/$id ]"#,
    ),
    (
        "exec-privileged",
        r#"hull run -d --name cc --privileged $IMAGE sleep 1000
        hull exec --privileged cc sh -ec 'mknod /tmp/serial c 4 64; : </tmp/serial; mkdir /sys/fs/cgroup/x'"#,
    ),
    (
        "stop-leaves-nothing",
        r#"id=$(hull run -d --name cc $IMAGE sleep 1000)
        [ -d /sys/fs/cgroup/hull/$id ]
        hull stop -t 1 cc; hull rm cc
        [ ! -e /sys/fs/cgroup/hull/$id ]"#,
    ),
    (
        "monitor-killed",
        r#"for end in 'stop -t 1' 'rm -f'; do
            id=$(hull run -d --name cc $IMAGE sleep 1000)
            pid=$(hull inspect -f '{{.State.Pid}}' cc)
            kill -9 $(awk '/^PPid:/ { print $2 }' /proc/$pid/status)
            hull $end cc
            [ ! -d /proc/$pid ]
            hull rm -f cc || true
            [ ! -e /sys/fs/cgroup/hull/$id ]
        done"#,
    ),
    (
        "network-none",
        r#"[ "$(hull run --rm --network none $IMAGE ls /sys/class/net)" = lo ]"#,
    ),
    (
        "network-bridge",
        r#"hull run --rm $IMAGE sh -ec 'ping -c 1 -W 5 $(ip route | sed -n "s/default via \([^ ]*\).*/\1/p")'
        hull run -d --name web -p 8080:80 $IMAGE sh -c 'echo hello >/tmp/index.html; httpd -f -p 80 -h /tmp'
        until wget -q -O - http://127.0.0.1:8080/ | grep hello; do usleep 200000; done"#,
    ),
    (
        "twenty-at-once",
        r#"i=0; while [ $i -lt 20 ]; do hull run --rm -m 16m $IMAGE echo done >/tmp/twenty.$i 2>&1 & i=$((i+1)); done
        wait
        cat /tmp/twenty.*
        [ "$(cat /tmp/twenty.* | grep -cx done)" = 20 ]"#,
    ),
    (
        "z-nothing-left",
        r#"find /sys/fs/cgroup/hull -mindepth 1 -type d; [ -z "$(find /sys/fs/cgroup/hull -mindepth 1 -type d)" ]"#,
    ),
];
