# shellcheck shell=sh disable=SC2154 # the values stand before this text
# What Proxmox VE does to a container's files and network before its init starts; init takes this
# shell's place. The values stand before this text: guest, domain, nameservers, address, and
# cards, a function that takes and gives the network cards.
rm -f /.dockerenv
inherited=$(cat /etc/resolv.conf)
# Docker mounts its own versions of these; the container has real ones.
for file in resolv.conf hostname hosts; do umount "/etc/$file"; done

kept() { [ -f "/etc/.pve-ignore.$1" ] && [ ! -L "/etc/.pve-ignore.$1" ]; }
# Standard input becomes the file, unless the guest keeps its own.
write() {
	kept "$1" && return
	mkdir -p "$(dirname "/etc/$1")"
	rm -f "/etc/$1"
	cat >"/etc/$1"
	chmod 644 "/etc/$1"
}

echo "$guest" | write hostname
hostname "$guest"
if [ -n "$nameservers$domain" ]; then
	{
		echo '# --- BEGIN PVE ---'
		[ -z "$domain" ] || echo "search $domain"
		for server in $nameservers; do echo "nameserver $server"; done
		echo '# --- END PVE ---'
	} | write resolv.conf
else
	echo "$inherited" | write resolv.conf
fi
{
	echo '127.0.0.1 localhost'
	echo '::1 localhost ip6-localhost ip6-loopback'
	echo '# --- BEGIN PVE ---'
	echo "${address:-127.0.1.1} $guest${domain:+.${domain%% *} $guest}"
	echo '# --- END PVE ---'
} | write hosts

# systemd wants a cgroup tree of its own that it can write to.
mount -o remount,bind,rw /sys/fs/cgroup/systemd 2>/dev/null || mount -o remount,bind,rw /sys/fs/cgroup

# Docker names and numbers the cards in its own order: each is known by its network. All get out of
# the way before one gets the name of another.
interfaces='auto lo
iface lo inet loopback'
for device in /sys/class/net/*; do
	[ "${device##*/}" = lo ] || ip link set dev "${device##*/}" down
done
take() { # number, network
	device=$(ip -4 -o address show to "$2" | sed -n '1s/^[0-9]*: *\([^ ]*\).*/\1/p')
	ip link set dev "$device" name "pve$1"
}
give() { # number, name, hardware address, dhcp|manual|ADDRESS, gateway or nothing
	ip link set dev "pve$1" name "$2"
	ip link set dev "$2" address "$3"
	[ "$4" = dhcp ] || ip address flush dev "$2"
	method=$4
	case $4 in dhcp | manual) ;; *)
		ip address add "$4" broadcast + dev "$2"
		method="static
	address $4${5:+
	gateway $5}"
		;;
	esac
	ip link set dev "$2" up
	[ -z "$5" ] || ip route replace default via "$5" dev "$2" onlink
	interfaces="$interfaces

auto $2
iface $2 inet $method"
}
cards
echo "$interfaces" | write network/interfaces
# Without this file, the container has started.
rm -f /.pve-boot
exec /sbin/init
