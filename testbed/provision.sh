#!/bin/sh
# Installs what the tests and the demonstration need on Debian 12 and prints
# what it does. Does nothing when nothing is missing. The system's Open vSwitch
# is not started: the tests start private ones.
set -eu

missing=''
need() { # program package
	command -v "$1" >/dev/null 2>&1 && return
	case " $missing " in *" $2 "*) ;; *) missing="$missing $2" ;; esac
}
PATH="$PATH:/usr/sbin:/sbin"
need ovs-vswitchd openvswitch-switch
need ovs-vsctl openvswitch-switch
need ovsdb-server openvswitch-common
need ovsdb-tool openvswitch-common
need ovs-ofctl openvswitch-common
need ovs-appctl openvswitch-common
need ip iproute2
[ -f /usr/share/openvswitch/vswitch.ovsschema ] || need /nonexistent openvswitch-switch

if [ -z "$missing" ]; then
	echo 'provision: everything is there'
	exit 0
fi
if [ "$(id -u)" -ne 0 ]; then
	echo "provision: missing:$missing; run this as root" >&2
	exit 1
fi

# invoke-rc.d asks policy-rc.d, and 101 forbids to start anything. Ours is there
# for this one call; one that is there already is the administrator's.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
	trap 'rm -f "$policy"' EXIT
	trap 'exit 1' HUP INT TERM
	printf '#!/bin/sh\nexit 101\n' >"$policy"
	chmod 755 "$policy"
fi

export DEBIAN_FRONTEND=noninteractive
install() {
	# shellcheck disable=SC2086 # a list of packages
	apt-get -o DPkg::Lock::Timeout=300 -y --no-install-recommends install $missing
}
echo "provision: installing$missing"
if ! install; then
	echo 'provision: reading the package lists anew'
	apt-get -o DPkg::Lock::Timeout=300 update
	install
fi
echo 'provision: done'
