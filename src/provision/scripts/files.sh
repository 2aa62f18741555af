# shellcheck shell=sh
# The files of the workspace, one after the other on standard input. Follows user.sh.
# $2 to $6: number of lines of the profile, of the secrets, of the extra certificates, and of the
# agent's settings and token.
# shellcheck disable=SC2154 # uid and gid: from user.sh

umask 077
mkdir -p /run/berth /etc/berth /etc/profile.d
chmod 755 /etc/berth /etc/profile.d
# What a setup that was killed left behind.
rm -f /run/berth/.setup.* /run/berth/.secrets.env.* /etc/profile.d/.berth.sh.* /etc/berth/.*.crt.*

payload=$(mktemp /run/berth/.setup.XXXXXX)
trap 'rm -f "$payload"' EXIT
cat >"$payload"

# Puts standard input into file $1 with mode $2 and owner $3, at once.
place() {
    if [ -d "$1" ]; then
        fail "$1 is a folder"
    fi
    beside=$(mktemp "${1%/*}/.${1##*/}.XXXXXX")
    cat >"$beside"
    chmod "$2" "$beside"
    chown "$3" "$beside"
    mv -f "$beside" "$1"
}

# Lines $1 to $2 of the payload. C: the values need not be characters of anybody's locale.
lines() {
    LC_ALL=C sed -n "$1,$2p" "$payload"
}

first=1
last=$2
lines "$first" "$last" | place /etc/profile.d/berth.sh 644 0:0
first=$((last + 1))
last=$((last + $3))
lines "$first" "$last" | place /run/berth/secrets.env 600 "$uid:$gid"

if [ "$4" -gt 0 ]; then
    first=$((last + 1))
    last=$((last + $4))
    lines "$first" "$last" | place /etc/berth/extra-ca.crt 644 0:0
    for system in /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/cert.pem /dev/null; do
        if [ -r "$system" ]; then
            break
        fi
    done
    { cat "$system" && echo && cat /etc/berth/extra-ca.crt; } | place /etc/berth/ca-certificates.crt 644 0:0
else
    rm -f /etc/berth/extra-ca.crt /etc/berth/ca-certificates.crt
fi

# For what must be on no disk and concerns the user alone.
if ! [ -d /run/berth/user ]; then
    mkdir /run/berth/user
fi
hand_over /run/berth/user

# Process 1 reads the settings when it is told to, and starts the agent.
if [ "$5" -gt 0 ]; then
    for folder in /run/berth/user/agent /var/log/berth; do
        if ! [ -d "$folder" ]; then
            mkdir "$folder"
        fi
        hand_over "$folder"
    done
    first=$((last + 1))
    last=$((last + $5))
    lines "$first" "$last" | place /run/berth/agent.json 644 0:0
    first=$((last + 1))
    last=$((last + $6))
    lines "$first" "$last" | place /run/berth/agent.token 600 "$uid:$gid"
    kill -HUP 1
fi
