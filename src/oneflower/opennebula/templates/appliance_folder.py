"""The texts of an appliance: the script that one-apps calls, the certification test, README and changelog."""

from oneflower import __version__
from oneflower.opennebula.containers import image
from oneflower.opennebula.rendering import render
from oneflower.opennebula.roles import Machine
from oneflower.opennebula.templates import machine as machines
from oneflower.opennebula.templates.marketplace import RELEASE
from oneflower.settings import TABLE, asked


def appliance_script(machine: Machine) -> str:
    """Return appliance.sh: one-apps calls its functions, which run `oneflower appliance`."""
    return render(
        "appliance/appliance.sh",
        label=machine.label,
        role=machine,
        version=__version__,
        variables=machine.variables(),
    )


def certification_test(machine: Machine) -> str:
    """Return the marketplace's rspec test: one VM alone, without a token and without a service.

    The test bench puts each command between double quotes on a command line: none may hold ``"`` or ``$``.
    """
    is_superlink = machine is Machine.SUPERLINK
    return render("appliance/certification.rb", image=image(machine), is_superlink=is_superlink)


def readme(machine: Machine) -> str:
    """Return the README.md of a role's image."""
    return render(
        "appliance/README.md",
        name=machines.IMAGES[machine],
        label=machine.label,
        is_superlink=machine is Machine.SUPERLINK,
        variables=machine.variables(),
    )


def service_readme() -> str:
    """Return the README.md of the service."""
    return render("service/README.md", variables=asked(TABLE))


def changelog() -> str:
    """Return the CHANGELOG.md of an appliance."""
    return render("appliance/CHANGELOG.md", release=RELEASE, version=__version__)
