"""Is the clock right, and are the certificates valid by it."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509

from oneflower.errors import ClusterError
from oneflower.findings import Finding, ok, problem, skipped, warning
from oneflower.opennebula.doctor.host import NOT_CONFIGURED, Host
from oneflower.opennebula.roles import Machine
from oneflower.tls.authority import SKEW
from oneflower.tls.checks import RENEW_BEFORE

CLOCK, CERTIFICATES = "clock", "certificates"
WARN_S = 5.0
_SET_CLOCK = "install and start chrony or systemd-timesyncd; `timedatectl` shows the time"
_TIMEDATECTL = ("/usr/bin/timedatectl", "show", "--property=NTPSynchronized", "--value")


def clock(host: Host) -> Iterator[Finding]:
    """Compare the clock with OneGate's; a OneGate that sends no date leaves what systemd knows."""
    lead_s = host.learned.clock_lead_s
    if lead_s is None:
        yield _synchronized(host)
        return
    text = f"{abs(lead_s):.0f} s {'ahead of' if lead_s > 0 else 'behind'} OneGate's"
    if abs(lead_s) > SKEW.total_seconds():
        yield problem(CLOCK, f"{text}: new certificates are not valid by it", _SET_CLOCK)
    elif abs(lead_s) > WARN_S:
        yield warning(CLOCK, text, _SET_CLOCK)
    else:
        yield ok(CLOCK, "agrees with OneGate's")


def _synchronized(host: Host) -> Finding:
    now = f"{host.now():%Y-%m-%d %H:%M:%S} UTC"
    try:
        said = host.commands.run(*_TIMEDATECTL).strip()
    except ClusterError:
        return skipped(CLOCK, f"{now}; nothing here tells whether that is right")
    if said == "no":
        return warning(CLOCK, f"{now}, and no time server was heard", _SET_CLOCK)
    return ok(CLOCK, f"{now}, set by a time server")


def certificates(host: Host) -> Iterator[Finding]:
    """Look at the dates of the files that the containers read."""
    if not host.tls_is_on():
        yield skipped(CERTIFICATES, "FL_TLS_ENABLED is NO")
        return
    if not host.is_configured():
        yield skipped(CERTIFICATES, NOT_CONFIGURED)
        return
    files = host.layout.certificates
    paths = [files.ca, files.certificate] if host.machine is Machine.SUPERLINK else [files.ca]
    ends = []
    for path in paths:
        found = _load(path)
        if isinstance(found, Finding):
            yield found
        elif (wrong := _wrong_date(path, found, host.now())) is not None:
            yield wrong
        else:
            ends.append(f"{path.name} until {found.not_valid_after_utc:%Y-%m-%d}")
    if len(ends) == len(paths):
        yield ok(CERTIFICATES, f"valid: {', '.join(ends)}")


def _load(path: Path) -> x509.Certificate | Finding:
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())[0]
    except FileNotFoundError:
        mend = (
            "configure writes it on a SuperLink, bootstrap on a SuperNode: mend what stops them, then reboot"
        )
        return problem(CERTIFICATES, f"{path} is not there", mend)
    except (OSError, ValueError) as error:
        mend = f"remove {path} and reboot: it is made again"
        return problem(CERTIFICATES, f"{path} cannot be read as a certificate ({error})", mend)


def _wrong_date(path: Path, certificate: x509.Certificate, now: datetime) -> Finding | None:
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now < begins:
        return problem(
            CERTIFICATES,
            f"{path} is valid from {begins:%Y-%m-%d %H:%M} UTC on, and here it is {now:%Y-%m-%d %H:%M}",
            _SET_CLOCK,
        )
    if now > ends:
        return problem(
            CERTIFICATES,
            f"{path} expired at {ends:%Y-%m-%d %H:%M} UTC, and here it is {now:%Y-%m-%d %H:%M}",
            "check the clock; then reboot the SuperLink, which makes a new one, or replace your own",
        )
    if ends - now < RENEW_BEFORE - timedelta(days=1):
        mend = "see that flower-report runs on the SuperLink: it renews what oneflower made, not your own"
        return warning(CERTIFICATES, f"{path} expires at {ends:%Y-%m-%d %H:%M} UTC", mend)
    return None
