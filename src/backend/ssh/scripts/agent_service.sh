# shellcheck shell=sh
# Makes the agent a service of whatever init the container has, and sees to it that it runs. Safe to
# repeat: a service that runs is left alone. $1: folder of the wanted version below /opt/berth.
# Prints `present` when the service is of the wanted version, else `update`.

set -eu
umask 022
program=/opt/berth/berth-agent

if ! [ -x "$program" ]; then
    ln -sfn "$1/berth-agent" "$program"
fi

# Puts standard input into file $1 with mode $2; fails when that is what stood there.
changed() {
    draft=$(mktemp "$1.XXXXXX")
    cat >"$draft"
    if cmp -s "$draft" "$1"; then
        rm -f "$draft"
        return 1
    fi
    chmod "$2" "$draft"
    mv -f "$draft" "$1"
}

# What people run are children of the service: they go on when it is stopped, they may be many, and
# one that is killed for want of memory does not end it.
systemd_service() {
    if changed /etc/systemd/system/berth-agent.service 644 <<END; then
[Unit]
Description=Berth workspace agent
StartLimitIntervalSec=0

[Service]
ExecStart=$program init
ExecReload=/bin/kill -HUP \$MAINPID
KillMode=process
Restart=always
RestartSec=1
TasksMax=infinity
OOMPolicy=continue

[Install]
WantedBy=multi-user.target
END
        systemctl daemon-reload
    fi
    systemctl --quiet enable berth-agent.service
    # The boot may still be under way, and waits for us where we wait for it.
    systemctl --no-block start berth-agent.service
}

openrc_service() {
    changed /etc/init.d/berth-agent 755 <<END || :
#!/sbin/openrc-run
description="Berth workspace agent"
supervisor=supervise-daemon
command=$program
command_args=init
respawn_delay=1
respawn_max=0
END
    rc-update --quiet add berth-agent default
    rc-service --quiet --ifstopped berth-agent start
}

# A line of the init's own table, since a script in /etc/init.d would start it once and never again.
sysv_service() {
    line="brth:2345:respawn:$program init"
    if ! grep -qxF "$line" /etc/inittab; then
        { grep -v '^brth:' /etc/inittab || :; printf '%s\n' "$line"; } | changed /etc/inittab 644
    fi
    telinit q
}

# An init that knows no services: the agent runs until the container stops, and is started again by
# the next delivery.
no_service() {
    if read -r init 2>/dev/null </run/berth/init.pid && read -r name 2>/dev/null <"/proc/$init/comm" &&
        [ "$name" = berth-agent ]; then
        return 0
    fi
    setsid "$program" init </dev/null >/dev/null 2>&1 &
}

read -r first </proc/1/comm
if [ "$first" = systemd ]; then
    systemd_service
elif [ -x /sbin/openrc-run ] && [ -d /run/openrc ]; then
    openrc_service
elif [ -f /etc/inittab ] && command -v telinit >/dev/null 2>&1 && [ "$first" = init ]; then
    sysv_service
else
    no_service
fi

if [ "$(readlink -f "$program")" = "/opt/berth/$1/berth-agent" ]; then
    echo present
else
    echo update
fi
