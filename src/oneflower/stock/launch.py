"""The program of a ServerApp's process: Flower's own, with what any app gets from oneflower."""

import sys

from oneflower.flower import launch


def main() -> None:
    """Run Flower's program of a ServerApp; see `oneflower.flower.launch`."""
    launch.main(sys.argv[1:], prepare=_install)


def _install() -> None:
    from oneflower.stock.hooks import install  # noqa: PLC0415 - after the environment is prepared

    install()


if __name__ == "__main__":
    main()
