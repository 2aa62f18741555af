# shellcheck shell=sh
# The workspace's user: made when it is missing, owner of its home and of the mount points.
# Run as root. $1: name of the user. Sets uid, gid and home for what follows.
#
# Only folders are handed over, and never what a symbolic link points to: the user could have
# put that link there.

set -eu
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

fail() {
    printf '%s\n' "$*" >&2
    exit 1
}

# One setup at a time: one whose caller is gone may still be running, and it would find the user made
# and its files removed under its hands. A folder can be locked as well as a file.
if command -v flock >/dev/null 2>&1; then
    exec 9</etc
    flock 9
fi

look_up_user() {
    while IFS=: read -r name _ uid gid _ home _; do
        if [ "$name" = "$1" ]; then
            return 0
        fi
    done </etc/passwd
    return 1
}

has_group() {
    while IFS=: read -r group _; do
        if [ "$group" = "$1" ]; then
            return 0
        fi
    done </etc/group
    return 1
}

create_user() {
    shell=/bin/sh
    if [ -x /bin/bash ]; then
        shell=/bin/bash
    fi
    if command -v useradd >/dev/null 2>&1; then
        if has_group "$1"; then
            useradd -m -s "$shell" -g "$1" "$1"
        else
            useradd -m -s "$shell" -U "$1"
        fi
    elif command -v adduser >/dev/null 2>&1; then
        # BusyBox's: Debian's script of this name never comes without useradd.
        if has_group "$1"; then
            adduser -D -s "$shell" -G "$1" "$1"
        else
            adduser -D -s "$shell" "$1"
        fi
    else
        fail "user $1 does not exist, and the image has neither useradd nor adduser to make it"
    fi
}

owner_of() {
    # shellcheck disable=SC2012 # stat has no portable format, and there are no odd names here
    ls -nd "$1" | {
        read -r _ _ owner _
        printf '%s' "$owner"
    }
}

hand_over() {
    if [ -d "$1" ] && [ "$(owner_of "$1")" != "$uid" ]; then
        chown -h "$uid:$gid" "$1"
    fi
}

# Docker makes the home itself when a volume is mounted below it; useradd then leaves it as it is.
fill_home() {
    for file in /etc/skel/.[!.]* /etc/skel/*; do
        place=$home/${file##*/}
        if [ -e "$file" ] && ! [ -e "$place" ] && ! [ -L "$place" ]; then
            cp -R "$file" "$place"
            chown -hR "$uid:$gid" "$place"
        fi
    done
}

user=$1
if ! look_up_user "$user"; then
    fresh=yes
    create_user "$user" >/dev/null
    look_up_user "$user" || fail "user $user is still missing from /etc/passwd after it was made"
fi

case $home in
/ | /bin | /dev | /etc | /nonexistent | /sbin | /tmp | /usr | /usr/* | /var | '')
    fail "the home of user $user is '$home', which can not be a workspace's"
    ;;
esac
if ! [ -d "$home" ]; then
    mkdir -p "$home"
    fresh=yes
fi
hand_over "$home"
if [ "${fresh:-}" = yes ]; then
    fill_home
fi
hand_over "$home/.cache"
mkdir -p /workspace
hand_over /workspace
echo "berth:uid=$uid"
