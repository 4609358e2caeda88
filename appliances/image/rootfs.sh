#!/usr/bin/env bash
# Build a root file system of a role without a hypervisor, by the steps of the disk image.
#   rootfs.sh superlink|supernode FOLDER WHEEL_FOLDER
# It boots under systemd-nspawn. Packages come from MIRROR; the container is not built, for no engine
# runs in a chroot. WHEEL_FOLDER holds oneflower's wheel and, where PIP_OPTIONS says --no-index, all others.
set -euo pipefail

readonly ROLE="${1:?usage: rootfs.sh superlink|supernode FOLDER WHEEL_FOLDER}"
readonly ROOT="${2:?usage: rootfs.sh superlink|supernode FOLDER WHEEL_FOLDER}"
readonly WHEELS="${3:?usage: rootfs.sh superlink|supernode FOLDER WHEEL_FOLDER}"
HERE="$(cd "$(dirname "$0")" && pwd)"
readonly HERE
readonly MIRROR="${MIRROR:-http://deb.debian.org/debian}"
readonly SUITE="${SUITE:-bookworm}"

mounted=()
unmount() {
    for folder in "${mounted[@]}"; do umount "$folder"; done
}
trap unmount EXIT

give() {
    mkdir -p "$2"
    mount --bind "$1" "$2"
    mount -o remount,bind,ro "$2"
    mounted+=("$2")
}

debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,iproute2,procps,curl "$SUITE" "$ROOT" "$MIRROR"

mkdir -p "$ROOT/opt/oneflower/image" "$ROOT/etc/one-appliance/service.d"
cp "$HERE"/* "$WHEELS"/oneflower-*.whl "$ROOT/opt/oneflower/image/"
cp "$HERE/../oneflower-$ROLE/appliance.sh" "$ROOT/etc/one-appliance/service.d/appliance.sh"

give "$WHEELS" "$ROOT/tmp/wheels"
cp /etc/resolv.conf "$ROOT/etc/resolv.conf"
WITHOUT_CONTAINER=YES PIP_OPTIONS="${PIP_OPTIONS:-}" ENGINE_PACKAGES="${ENGINE_PACKAGES:-docker.io}" \
    chroot "$ROOT" /opt/oneflower/image/install.sh "$ROLE"
