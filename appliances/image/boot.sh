#!/usr/bin/env bash
# Install what a machine does at each boot before contextualization runs the stages.
#   boot.sh [ROOT]
# ROOT is the machine's root file system, where it is not this one's.
set -euo pipefail

readonly ROOT="${1:-}"
HERE="$(cd "$(dirname "$0")" && pwd)"
readonly HERE

install -d -m 0755 "$ROOT/etc/systemd/system/one-context.service.wants"
for name in after-power-cut mount-disks; do
    unit="oneflower-$name.service"
    install -D -m 0755 "$HERE/$name" "$ROOT/opt/oneflower/$name"
    install -D -m 0644 "$HERE/$unit" "$ROOT/etc/systemd/system/$unit"
    # What `systemctl enable` does, also for a root that is not running.
    ln -sf "../$unit" "$ROOT/etc/systemd/system/one-context.service.wants/$unit"
done
# It sources one_env, where values of the context stand unescaped, and so runs them as root. The stage `bootstrap`
# reports READY itself.
rm -f "$ROOT/etc/one-context.d/net-99-report-ready"
