#!/bin/busybox sh
# The first program of the machine of `cargo xtask vm`. The kernel's first root cannot be pivoted away from, so the
# same files are mounted once more above it.
if [ "$SETTLED" != yes ]; then
	/bin/busybox mount --bind / /mnt
	cd /mnt || exit 1
	/bin/busybox mount --move . /
	SETTLED=yes exec /bin/busybox chroot . /init
fi
/bin/busybox mount -t proc proc /proc
/bin/busybox --install -s /bin
export PATH=/bin HOME=/
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
# With the options of systemd.
mount -t cgroup2 -o nsdelegate,memory_recursiveprot cgroup2 /sys/fs/cgroup
# Somewhere below the root, as every session of a real machine is.
mkdir /sys/fs/cgroup/session
echo 0 >/sys/fs/cgroup/session/cgroup.procs
ip link set lo up
for module in /modules/*; do
	insmod "$module" || echo "cannot load $module"
done
# What the firmware left of a line is no part of the first check's.
echo
IMAGE=$(cat /image)
export IMAGE
for check in /checks/*; do
	name=${check#/checks/}
	if timeout 120 sh -e "$check" >/tmp/said 2>&1; then
		echo "CHECK $name ok"
	else
		echo "CHECK $name FAIL $?"
		cat /tmp/said
	fi
	left=$(hull ps -aq)
	[ -z "$left" ] || hull rm -f $left >/dev/null
done
echo "CHECKS ENDED"
poweroff -f
