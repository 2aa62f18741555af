# shellcheck shell=sh
# Name resolution of a container whose host writes it anew at every start. Run as root.
# $1: the folder of resolv.conf; $2: keep or host; then the servers, in their order.
#
# The host leaves resolv.conf alone where it finds a regular file .pve-ignore.resolv.conf beside it.

set -eu
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
file=$1/resolv.conf
ignore=$1/.pve-ignore.resolv.conf
mode=$2
shift 2

loosen() {
    chattr -i "$file" 2>/dev/null || true
}

if [ "$mode" = host ]; then
    if [ -e "$ignore" ] || [ -L "$ignore" ]; then
        # The host could not write a file at its next start that may not be changed.
        loosen
        rm -f "$ignore"
    fi
    exit 0
fi

if [ -L "$ignore" ]; then
    rm -f "$ignore"
fi
if ! [ -f "$ignore" ]; then
    : >"$ignore"
fi

wanted=
for server in "$@"; do
    wanted="${wanted}nameserver $server
"
done
# A marker keeps the line's end: a command's result loses it.
if [ -n "$wanted" ] && { [ -L "$file" ] || [ "$(cat "$file" 2>/dev/null && echo .)" != "$wanted." ]; }; then
    loosen
    if [ -L "$file" ]; then
        rm -f "$file"
    fi
    # In its place, since it may be a mount point.
    printf '%s' "$wanted" >"$file"
    chmod 644 "$file"
fi

if [ -f "$file" ] && ! [ -L "$file" ] && chattr +i "$file" 2>/dev/null; then
    echo "berth:resolv-conf=immutable"
fi
