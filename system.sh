#!/bin/sh
# Installs the system packages that are missing: `system.sh test` (private servers for the tests), `system.sh venv`.
set -eu

case "${1:-test}" in
    venv) packages="python3.11-venv"; programs="" ;;
    test)
        packages="postgresql redis-server rabbitmq-server orthanc orthanc-dicomweb orthanc-python dcmtk chromium wordnet-base wordnet-sense-index"
        programs="redis-server rabbitmq-server Orthanc chromium"
        ;;
esac

missing=""
for program in $programs; do
    PATH="$PATH:/usr/sbin:/usr/lib/rabbitmq/bin" command -v "$program" >/dev/null 2>&1 || missing="$missing $program"
done
if [ "${1:-test}" = test ]; then
    test -e /usr/share/orthanc/plugins/libOrthancDicomWeb.so || missing="$missing orthanc-dicomweb"
    test -e /usr/share/orthanc/plugins/libOrthancPython.so || missing="$missing orthanc-python"
    test -x /usr/bin/storescu || missing="$missing dcmtk"
    test -e /usr/share/wordnet/index.noun || missing="$missing wordnet-base"
    test -e /usr/share/wordnet/index.sense || missing="$missing wordnet-sense-index"
    ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing="$missing postgresql"
else
    missing="$packages"
fi
[ -z "$missing" ] && exit 0

echo "Missing on this machine:$missing"
if [ "$(id -u)" = 0 ]; then run=""; elif command -v sudo >/dev/null 2>&1; then run="sudo"; else
    echo "Install these packages as root, then try again: $packages" >&2
    exit 1
fi
# No service may start by itself: the tests start their own on free ports.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' | $run tee $policy >/dev/null
    $run chmod +x $policy
    trap '$run rm -f $policy' EXIT
fi
$run apt-get update -qq
# Ubuntu's chromium is a snap; there the browser's tests name what is missing.
$run env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages
