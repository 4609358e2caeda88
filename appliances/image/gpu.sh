#!/usr/bin/env bash
# Install what a SuperNode needs for NVIDIA GPUs: the driver with open kernel modules, and the Container Toolkit.
#   gpu.sh
# install.sh calls it with GPU=YES. Everything is installed here: a boot downloads nothing. What may be set:
#   NVIDIA_DRIVER      version of the driver; CUDA 13.0, which PyTorch 2.13.0 is built for, needs 580 or newer
#   NVIDIA_TOOLKIT     version of the Container Toolkit; from 1.18.0 on it writes the CDI specification at each boot
#   NVIDIA_DRIVERS     NVIDIA's repository of drivers for the distribution of the image
#   DEBIAN             Debian's archive: the driver's packages depend on some of its section `contrib`; another
#                      address of it where apt has this one with another key already
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive

readonly NVIDIA_DRIVER="${NVIDIA_DRIVER:-580.95.05}"
readonly NVIDIA_TOOLKIT="${NVIDIA_TOOLKIT:-1.18.2}"
readonly NVIDIA_DRIVERS="${NVIDIA_DRIVERS:-https://developer.download.nvidia.com/compute/cuda/repos/debian12/x86_64}"
readonly DEBIAN="${DEBIAN:-https://deb.debian.org/debian}"
readonly TOOLKITS="https://nvidia.github.io/libnvidia-container"
# Of the two keys that sign these repositories: a download that has another one is refused.
readonly DRIVERS_KEY=EB693B3035CD5710E231E123A4B469963BF863CC
readonly TOOLKITS_KEY=C95B321B61E88C1809C4F759DDCAE044F796ECB0
readonly DRIVER_PACKAGES=(nvidia-driver-cuda nvidia-kernel-open-dkms nvidia-modprobe nvidia-persistenced)
readonly TOOLKIT_PACKAGES=(nvidia-container-toolkit nvidia-container-toolkit-base libnvidia-container-tools
    libnvidia-container1)
readonly KEYRINGS=/usr/share/keyrings

# add_key URL FINGERPRINT FILE
add_key() {
    local found
    curl --fail --silent --show-error --location --proto '=https' --output "$3.asc" "$1"
    found="$(gpg --batch --show-keys --with-colons "$3.asc" | awk -F: '$1 == "fpr" {print $10; exit}')"
    [ "$found" = "$2" ] || {
        echo "gpu.sh: the key at $1 is ${found:-no key}: expected $2; nothing was installed from there" >&2
        exit 3
    }
    gpg --batch --yes --dearmor --output "$3" "$3.asc"
    rm -f "$3.asc"
}

# pin VERSION PACKAGE...: apt takes no other version of these, now or later.
pin() {
    local version="$1" package
    shift
    for package in "$@"; do
        printf 'Package: %s\nPin: version %s-*\nPin-Priority: 1001\n\n' "$package" "$version"
    done
}

# expect VERSION PACKAGE...: end where another version was installed.
expect() {
    local version="$1" package installed
    shift
    for package in "$@"; do
        # ${Version} is dpkg-query's own.
        # shellcheck disable=SC2016
        installed="$(dpkg-query --show --showformat '${Version}' "$package")"
        case "$installed" in
            "$version"-*) ;;
            *) echo "gpu.sh: $package is of version $installed: expected $version-*" >&2; exit 3 ;;
        esac
    done
}

add_repositories() {
    apt-get update -q
    apt-get install -y -q --no-install-recommends curl gnupg
    add_key "$NVIDIA_DRIVERS/3bf863cc.pub" "$DRIVERS_KEY" "$KEYRINGS/nvidia-drivers.gpg"
    add_key "$TOOLKITS/gpgkey" "$TOOLKITS_KEY" "$KEYRINGS/nvidia-container-toolkit.gpg"
    # shellcheck source=/dev/null
    echo "deb [signed-by=$KEYRINGS/debian-archive-keyring.gpg] $DEBIAN $(. /etc/os-release; echo "$VERSION_CODENAME") contrib" \
        >/etc/apt/sources.list.d/oneflower-contrib.list
    echo "deb [signed-by=$KEYRINGS/nvidia-drivers.gpg] $NVIDIA_DRIVERS/ /" \
        >/etc/apt/sources.list.d/nvidia-drivers.list
    echo "deb [signed-by=$KEYRINGS/nvidia-container-toolkit.gpg] $TOOLKITS/stable/deb/amd64 /" \
        >/etc/apt/sources.list.d/nvidia-container-toolkit.list
    # The driver's libraries depend on one another by version: all that NVIDIA's repository names so is pinned.
    {
        pin "$NVIDIA_DRIVER" "${DRIVER_PACKAGES[@]}" 'nvidia-*' 'libnvidia-*' 'libcuda1' 'libcudadebugger1' \
            'libnvcuvid1' 'libnvoptix1' 'libxnvctrl0' 'firmware-nvidia-*'
        pin "$NVIDIA_TOOLKIT" "${TOOLKIT_PACKAGES[@]}"
    } >/etc/apt/preferences.d/oneflower-nvidia
    apt-get update -q
}

install_driver() {
    printf 'blacklist nouveau\noptions nouveau modeset=0\n' >/etc/modprobe.d/oneflower-nouveau.conf
    # The modules are compiled for the kernel that the image boots, and again when Debian updates that. Drivers from
    # 570 on need a newer dkms than Debian 12 has: apt takes the one of NVIDIA's repository, which nothing pins.
    apt-get install -y -q --no-install-recommends linux-image-amd64 linux-headers-amd64 dkms
    apt-get install -y -q --no-install-recommends "${DRIVER_PACKAGES[@]}"
    expect "$NVIDIA_DRIVER" "${DRIVER_PACKAGES[@]}"
    local kernel
    kernel="$(find /lib/modules -mindepth 1 -maxdepth 1 -printf '%f\n' | sort -V | tail -n 1)"
    modinfo --set-version "$kernel" nvidia >/dev/null || {
        echo "gpu.sh: the driver has no module for kernel $kernel: see /var/lib/dkms/nvidia/*/build/make.log" >&2
        exit 3
    }
    update-initramfs -u -k all
}

install_toolkit() {
    apt-get install -y -q --no-install-recommends "${TOOLKIT_PACKAGES[@]}"
    expect "$NVIDIA_TOOLKIT" "${TOOLKIT_PACKAGES[@]}"
    local drop_in=/etc/systemd/system/nvidia-cdi-refresh.service.d
    install -d -m 0755 "$drop_in"
    # one-context.service runs the stages, which start the container with what the specification names. That has
    # only the device nodes that are there, and the toolkit makes none: CUDA opens /dev/nvidia-uvm.
    printf '[Unit]\nAfter=nvidia-persistenced.service\nBefore=one-context.service\n' >"$drop_in/oneflower.conf"
    printf '[Service]\nExecStartPre=-/usr/bin/nvidia-modprobe -c=0 -u\n' >>"$drop_in/oneflower.conf"
}

# What `systemctl enable` does, also for a root that is not running.
enable_units() {
    local unit folder
    for unit in nvidia-persistenced.service nvidia-cdi-refresh.service; do
        folder="$(find /usr/lib/systemd/system /lib/systemd/system /etc/systemd/system -maxdepth 1 -name "$unit" \
            -printf '%h\n' -quit)"
        [ -n "$folder" ] || { echo "gpu.sh: $unit was not installed" >&2; exit 3; }
        install -d -m 0755 /etc/systemd/system/multi-user.target.wants
        ln -sf "$folder/$unit" "/etc/systemd/system/multi-user.target.wants/$unit"
    done
}

add_repositories
install_driver
install_toolkit
enable_units
apt-get clean
rm -rf /var/lib/apt/lists/*
