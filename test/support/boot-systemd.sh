#!/usr/bin/env bash
# boot-systemd.sh CGROUP REPOSITORY CONSOLE UNITS ROOT
# Becomes a systemd that is PID 1 of namespaces of its own, on a root file system made here: the
# machine's /usr, this repository as /opt/tidegate, both read-only, and nothing of its /etc but
# the few files that any program needs. It ends with the process that this script turns into.
set -euo pipefail

echo $$ > "$1/cgroup.procs"
exec setpriv --pdeathsig KILL unshare --fork --kill-child --mount --propagation private \
  --pid --net --ipc --uts --cgroup bash -euo pipefail -s "${@:2}" <<'INSIDE'
repository=$1 console=$2 units=$3 root=$4
mount -t tmpfs -o mode=755 root "$root"
cd "$root"
mkdir -p dev etc/systemd/system opt/tidegate proc root run sys tmp usr var/lib var/tmp

mount --rbind -o ro /usr usr
for name in bin sbin lib lib32 lib64; do
  if [ -L "/$name" ]; then cp -P "/$name" "$name"
  elif [ -d "/$name" ]; then mkdir "$name"; mount --rbind -o ro "/$name" "$name"
  fi
done
mount --bind "$repository" opt/tidegate
mount -o remount,bind,ro opt/tidegate

for file in group ld.so.cache nsswitch.conf os-release passwd; do
  [ ! -e "/etc/$file" ] || cp -L "/etc/$file" "etc/$file"
done
tr -d - < /proc/sys/kernel/random/uuid > etc/machine-id

# Only what starts nothing by itself, and the journal.
stock=lib/systemd/system
mkdir kept
cp "$stock"/*.target "$stock"/*.slice "$stock"/systemd-journald*.{service,socket} kept
mount --bind kept "$stock"
if [ -d lib/systemd/system-generators ]; then mount -t tmpfs none lib/systemd/system-generators; fi
printf '[Unit]\nDefaultDependencies=no\n' > etc/systemd/system/sysinit.target
printf '[Unit]\nRequires=sysinit.target\nWants=systemd-journald.service\n' > etc/systemd/system/default.target
cp -R "$units/." etc/systemd/system

# What would reach the machine outside is read-only, and the clock and the modules are out of reach.
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t tmpfs -o mode=755 tmpfs sys/fs
mkdir sys/fs/cgroup
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs dev
for device in null zero full random urandom tty; do
  touch "dev/$device"
  mount --bind "/dev/$device" "dev/$device"
done
mkdir dev/shm dev/pts
mount -t tmpfs tmpfs dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
touch dev/console
mount --bind "$console" dev/console
for directory in run tmp; do mount -t tmpfs tmpfs "$directory"; done
chmod 1777 tmp var/tmp

mkdir outside
pivot_root . outside
umount -l /outside
# Within this machine mounts propagate, as on any other: systemd hands credentials over by one.
mount --make-rshared /
exec setpriv --bounding-set -sys_boot,-sys_module,-sys_rawio,-sys_time,-syslog \
  env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin \
  /lib/systemd/systemd --log-target=journal-or-kmsg --show-status=no < /dev/null > /dev/console 2>&1
INSIDE
