# shellcheck shell=sh
# Makes a fresh container of a distribution fit for a template. Run as root. What follows sets up the
# workspace's user.
# BERTH_TEMPLATE_PACKAGES: the packages, with spaces between; BERTH_TEMPLATE_CA: file of authorities to
# trust while they are fetched. Exit codes: 3 there is no such package, 4 no apt, 5 they can not be had now.

set -eu
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
attempts=5

give_up() {
    code=$1
    shift
    printf '%s\n' "$*"
    exit "$code"
}

command -v apt-get >/dev/null 2>&1 ||
    give_up 4 "the OS template has no apt-get: packages can not be installed"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export DEBIAN_FRONTEND=noninteractive

# A mirror may be shown by a proxy with a certificate of its own.
authorities() {
    for system in /etc/ssl/certs/ca-certificates.crt /dev/null; do
        if [ -r "$system" ]; then
            break
        fi
    done
    # Read by apt's own user.
    chmod 755 "$work"
    { cat "$system" && echo && cat "$BERTH_TEMPLATE_CA"; } >"$work/authorities.crt"
    chmod 644 "$work/authorities.crt"
}

apt() {
    if [ -n "${BERTH_TEMPLATE_CA:-}" ]; then
        set -- -o "Acquire::https::CaInfo=$work/authorities.crt" "$@"
    fi
    apt-get -q -y -o DPkg::Lock::Timeout=300 -o Dpkg::Options::=--force-confdef \
        -o Dpkg::Options::=--force-confold "$@" >"$work/output" 2>&1 &&
        status=0 || status=$?
    cat "$work/output"
    return "$status"
}

# That a package does not exist is said at once; a mirror may answer the next time.
install_packages() {
    attempt=1
    while :; do
        # shellcheck disable=SC2086 # a list of names
        if apt update && apt install --no-install-recommends $BERTH_TEMPLATE_PACKAGES; then
            return 0
        fi
        missing=$(grep -E '^E: (Unable to locate package|Version .* was not found|Package .* has no installation candidate|Couldn.t find any package)' \
            "$work/output" | tail -n 1) || missing=
        if [ -n "$missing" ]; then
            give_up 3 "$missing"
        fi
        if [ "$attempt" -ge "$attempts" ]; then
            give_up 5 "$(grep -E '^(E|Err):' "$work/output" | tail -n 1 || true) (tried $attempts times)"
        fi
        sleep $((attempt * 5))
        attempt=$((attempt + 1))
        # An installation that was cut off must be finished first.
        dpkg --configure -a || true
    done
}

# The first value counts, so ours has to come first.
only_keys() {
    config=/etc/ssh/sshd_config
    wanted='PermitRootLogin prohibit-password'
    if grep -qi '^[[:space:]]*Include[[:space:]].*/etc/ssh/sshd_config.d/' "$config"; then
        mkdir -p /etc/ssh/sshd_config.d
        printf '%s\n' "$wanted" >/etc/ssh/sshd_config.d/00-berth.conf
    elif [ "$(head -n 1 "$config")" != "$wanted" ]; then
        { printf '%s\n' "$wanted" && cat "$config"; } >"$work/sshd_config"
        cat "$work/sshd_config" >"$config"
    fi
}

# A password that nothing matches. Unlike a locked one it keeps nobody out who has a key.
lock_passwords() {
    for account in root "$1"; do
        usermod -p '*' "$account"
    done
}

# The template has no host keys, so that each clone makes its own before its SSH server starts.
first_boot_systemd() {
    mkdir -p /etc/systemd/system/multi-user.target.wants /etc/systemd/system/ssh.service.wants
    cat >/etc/systemd/system/berth-first-boot.service <<'END'
[Unit]
Description=SSH host keys of a new workspace
Before=ssh.service sshd.service
ConditionPathExists=!/etc/ssh/ssh_host_ed25519_key

[Service]
Type=oneshot
ExecStart=/usr/bin/ssh-keygen -A

[Install]
WantedBy=multi-user.target ssh.service
END
    for wanting in multi-user.target ssh.service; do
        ln -sf ../berth-first-boot.service "/etc/systemd/system/$wanting.wants/berth-first-boot.service"
    done
}

# Debian's OpenRC has no service localmount, and its SSH server is called ssh.
first_boot_openrc() {
    cat >/etc/init.d/berth-first-boot <<'END'
#!/sbin/openrc-run
description="SSH host keys of a new workspace"
depend() {
    after localmount
    before ssh sshd
}
start() {
    [ -e /etc/ssh/ssh_host_ed25519_key ] || ssh-keygen -A
}
END
    chmod 755 /etc/init.d/berth-first-boot
    rc-update --quiet add berth-first-boot default
}

first_boot_sysv() {
    cat >/etc/init.d/berth-first-boot <<'END'
#!/bin/sh
### BEGIN INIT INFO
# Provides:          berth-first-boot
# Required-Start:    $local_fs
# Required-Stop:
# X-Start-Before:    ssh
# Default-Start:     2 3 4 5
# Default-Stop:
# Short-Description: SSH host keys of a new workspace
### END INIT INFO
case $1 in
start) [ -e /etc/ssh/ssh_host_ed25519_key ] || ssh-keygen -A ;;
esac
END
    chmod 755 /etc/init.d/berth-first-boot
    if command -v update-rc.d >/dev/null 2>&1; then
        update-rc.d berth-first-boot defaults
    fi
}

first_boot() {
    read -r init </proc/1/comm
    if [ "$init" = systemd ]; then
        first_boot_systemd
    elif [ -x /sbin/openrc-run ]; then
        first_boot_openrc
    elif [ -d /etc/init.d ]; then
        first_boot_sysv
    else
        give_up 1 "the container has no init that could make SSH host keys at the first boot"
    fi
}

# Where this is a regular file, the host leaves name resolution to the container.
own_name_resolution() {
    ignore=/etc/.pve-ignore.resolv.conf
    if [ -L "$ignore" ]; then
        rm -f "$ignore"
    fi
    : >>"$ignore"
}

if [ -n "${BERTH_TEMPLATE_CA:-}" ]; then
    authorities
fi
install_packages
only_keys
first_boot
own_name_resolution
