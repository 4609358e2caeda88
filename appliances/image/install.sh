#!/usr/bin/env bash
# Install a role into a disk image: the container engine, oneflower for the machine itself, and the container.
#   install.sh superlink|supernode
# Beside this script lie boot.sh with its files, the Containerfile and oneflower's wheel. What may be set:
#   PIP_OPTIONS        what pip is told besides (an index of PyTorch for this machine's processors)
#   LOCKED             YES (the default) installs only what machine.lock and the containers' locks name, by hash
#   FRAMEWORKS         whose containers are built: pytorch (the default), tensorflow, sklearn, separated by blanks
#   GPU                YES installs NVIDIA's driver and Container Toolkit (gpu.sh), and PyTorch's container has CUDA
#   BASE               the base image, by digest; otherwise Flower's image of the role by its tag
#   ENGINE_PACKAGES    packages of a container engine that has a `docker` command (docker.io)
#   WITHOUT_CONTAINER  YES leaves the container out: where no engine runs, as in a chroot
set -euo pipefail

readonly ROLE="${1:?usage: install.sh superlink|supernode}"
readonly HERE=/opt/oneflower/image
readonly VENV=/opt/oneflower/venv
PIP_OPTIONS="${PIP_OPTIONS:-}"
ENGINE_PACKAGES="${ENGINE_PACKAGES:-docker.io}"
WITHOUT_CONTAINER="${WITHOUT_CONTAINER:-NO}"
LOCKED="${LOCKED:-YES}"
GPU="${GPU:-NO}"
read -r -a FRAMEWORKS <<<"${FRAMEWORKS:-pytorch}"
BASE="${BASE:-docker.io/flwr/$ROLE:1.25.0}"

case "$ROLE" in
    superlink | supernode) ;;
    *) echo "install.sh: $ROLE is no role: expected superlink or supernode" >&2; exit 2 ;;
esac
case "$GPU $ROLE" in
    NO\ * | "YES supernode") ;;
    "YES superlink") echo "install.sh: GPU is YES: only a SuperNode uses GPUs; leave GPU out here" >&2; exit 2 ;;
    *) echo "install.sh: GPU is $GPU: expected YES or NO" >&2; exit 2 ;;
esac

install_packages() {
    export DEBIAN_FRONTEND=noninteractive
    local engine
    read -r -a engine <<<"$ENGINE_PACKAGES"
    apt-get update -q
    apt-get install -y -q --no-install-recommends ca-certificates iproute2 python3 python3-venv "${engine[@]}"
    apt-get clean
    rm -rf /var/lib/apt/lists/*
}

install_oneflower() {
    local options wheel
    read -r -a options <<<"$PIP_OPTIONS"
    wheel="$(find "$HERE" -maxdepth 1 -name 'oneflower-*.whl' -print -quit)"
    [ -n "$wheel" ] || { echo "install.sh: there is no oneflower-*.whl in $HERE" >&2; exit 2; }
    python3 -m venv "$VENV"
    if [ "$LOCKED" = YES ]; then
        "$VENV/bin/pip" install --no-cache-dir "${options[@]}" --require-hashes -r "$HERE/machine.lock"
        options+=(--no-deps)
    fi
    "$VENV/bin/pip" install --no-cache-dir "${options[@]}" "$wheel"
    ln -sf "$VENV/bin/oneflower" /usr/local/bin/oneflower
}

build_containers() {
    local version framework name gpu
    version="$("$VENV/bin/oneflower" --version | cut -d' ' -f2)"
    for framework in "${FRAMEWORKS[@]}"; do
        name="oneflower-$ROLE-$framework" gpu=NO
        [ "$framework" != pytorch ] || name="oneflower-$ROLE" gpu="$GPU"
        docker build --build-arg "ROLE=$ROLE" --build-arg "PIP_OPTIONS=$PIP_OPTIONS" \
            --build-arg "LOCKED=$LOCKED" --build-arg "BASE=$BASE" --build-arg "FRAMEWORK=$framework" \
            --build-arg "GPU=$gpu" \
            --tag "$name:$version" "$HERE"
    done
}

install_packages
[ "$GPU" = NO ] || "$HERE/gpu.sh"
install_oneflower
"$HERE/boot.sh"
[ "$WITHOUT_CONTAINER" = YES ] || build_containers
