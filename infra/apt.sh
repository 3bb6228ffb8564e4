#!/bin/sh
# Install the Debian packages that `python -m infra.services up` starts on a machine without containers:
# an S3 server (Ceph's RADOS gateway with one monitor and one object daemon) and PostgreSQL. Needs root. Arguments are
# further packages; after --only they are all that is installed.
set -eu

PACKAGES="radosgw ceph-mon ceph-osd ceph-common uuid-runtime postgresql curl"
if [ "${1:-}" = --only ]; then
    PACKAGES=""
    shift
fi

if [ "$(id -u)" -ne 0 ]; then
    echo "infra/apt.sh installs Debian packages and must run as root, found user $(id -un): use sudo, or compose.yaml." >&2
    exit 1
fi
if ! command -v apt-get >/dev/null; then
    echo "infra/apt.sh needs apt-get (Debian or Ubuntu), which is not here: use infra/compose.yaml instead." >&2
    exit 1
fi

export DEBIAN_FRONTEND=noninteractive
# The packages' own services must not start: ours run in a folder of their own and only while asked to.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    trap 'rm -f "$policy"' EXIT
fi
apt-get update -q
# shellcheck disable=SC2086 -- one word a package
apt-get install -q -y --no-install-recommends $PACKAGES "$@"
