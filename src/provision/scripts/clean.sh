# shellcheck shell=sh
# Takes out of a container what its clones must not share. Run as root. $1: the workspace's user.
# Safe to repeat. The SSH host keys go last: nobody is let in anew without them.

set -eu
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

empty_folder() {
    if [ -d "$1" ] && ! [ -L "$1" ]; then
        find "$1" -mindepth 1 -xdev -delete
    fi
}

if command -v apt-get >/dev/null 2>&1; then
    apt-get clean
    empty_folder /var/lib/apt/lists
fi

# The agent's state, and that of earlier work. Some of it may be a mount point.
for folder in /var/lib/berth /run/berth; do
    if [ -d "$folder" ]; then
        find "$folder" -mindepth 1 -xdev -delete
        rmdir "$folder" 2>/dev/null || true
    fi
done
empty_folder /var/log/berth
rm -rf /etc/berth /etc/profile.d/berth.sh

for home in /root "$(awk -F: -v user="$1" '$1 == user { print $6 }' /etc/passwd)"; do
    if [ -d "$home" ]; then
        rm -f "$home"/.*_history "$home/.lesshst" "$home/.wget-hsts" "$home/.ssh/known_hosts"
    fi
done

empty_folder /var/log/journal
find /var/log -xdev -type f \( -name '*.gz' -o -name '*.xz' -o -name '*.[0-9]' -o -name '*.old' \) -delete
find /var/log -xdev -type f -exec sh -c 'for log; do : >"$log"; done' sh {} +

# Of the first set-up of machines in clouds.
empty_folder /var/lib/cloud
rm -f /var/log/cloud-init*.log /var/lib/systemd/random-seed /var/lib/dhcp/*.leases
empty_folder /var/tmp

if [ -e /etc/machine-id ]; then
    : >/etc/machine-id
fi
rm -f /var/lib/dbus/machine-id
rm -f /etc/ssh/ssh_host_*_key /etc/ssh/ssh_host_*_key.pub
sync
