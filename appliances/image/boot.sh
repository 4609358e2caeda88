#!/usr/bin/env bash
# Install what a machine does at each boot before contextualization runs the stages.
#   boot.sh [ROOT]
# ROOT is the machine's root file system, where it is not this one's.
set -euo pipefail

readonly ROOT="${1:-}"
readonly NAME=oneflower-after-power-cut.service
HERE="$(cd "$(dirname "$0")" && pwd)"
readonly HERE

install -D -m 0755 "$HERE/after-power-cut" "$ROOT/opt/oneflower/after-power-cut"
install -D -m 0644 "$HERE/$NAME" "$ROOT/etc/systemd/system/$NAME"
# What `systemctl enable` does, also for a root that is not running.
install -d -m 0755 "$ROOT/etc/systemd/system/one-context.service.wants"
ln -sf "../$NAME" "$ROOT/etc/systemd/system/one-context.service.wants/$NAME"
