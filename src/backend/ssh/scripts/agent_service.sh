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

sysv_service() {
    changed /etc/init.d/berth-agent 755 <<END || :
#!/bin/sh
### BEGIN INIT INFO
# Provides:          berth-agent
# Required-Start:    \$local_fs
# Required-Stop:     \$local_fs
# Default-Start:     2 3 4 5
# Default-Stop:      0 1 6
# Short-Description: Berth workspace agent
### END INIT INFO
pid=/run/berth-agent.pid
case \$1 in
start)
    start-stop-daemon --start --quiet --oknodo --background --make-pidfile --pidfile \$pid \\
        --startas $program -- init
    ;;
stop) start-stop-daemon --stop --quiet --oknodo --retry 10 --remove-pidfile --pidfile \$pid ;;
restart | force-reload)
    "\$0" stop
    "\$0" start
    ;;
reload) start-stop-daemon --stop --signal HUP --quiet --pidfile \$pid ;;
status) start-stop-daemon --status --pidfile \$pid ;;
*)
    echo "Usage: \$0 {start|stop|restart|force-reload|reload|status}" >&2
    exit 2
    ;;
esac
END
    if command -v update-rc.d >/dev/null 2>&1; then
        update-rc.d berth-agent defaults >/dev/null
    fi
    /etc/init.d/berth-agent start </dev/null >/dev/null 2>&1
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
elif [ -d /etc/init.d ] && command -v start-stop-daemon >/dev/null 2>&1 && [ "$first" = init ]; then
    sysv_service
else
    no_service
fi

if [ "$(readlink -f "$program")" = "/opt/berth/$1/berth-agent" ]; then
    echo present
else
    echo update
fi
