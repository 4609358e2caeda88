"""Check that the clock is right and that the certificates are valid now."""

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
_SET_CLOCK = "install and start chrony or systemd-timesyncd; check with `timedatectl`"
_TIMEDATECTL = ("/usr/bin/timedatectl", "show", "--property=NTPSynchronized", "--value")


def clock(host: Host) -> Iterator[Finding]:
    """Compare the clock with OneGate's; if OneGate sends no date, check that it is synchronized."""
    lead_s = host.facts.clock_lead_s
    if lead_s is None:
        yield _synchronized(host)
        return
    text = f"{abs(lead_s):.0f} s {'ahead of' if lead_s > 0 else 'behind'} OneGate's"
    if abs(lead_s) > SKEW.total_seconds():
        yield problem(CLOCK, f"{text}: new certificates are not valid at this time", _SET_CLOCK)
    elif abs(lead_s) > WARN_S:
        yield warning(CLOCK, text, _SET_CLOCK)
    else:
        yield ok(CLOCK, "agrees with OneGate's")


def _synchronized(host: Host) -> Finding:
    now = f"{host.now():%Y-%m-%d %H:%M:%S} UTC"
    try:
        synchronized = host.commands.run(*_TIMEDATECTL).strip()
    except ClusterError:
        return skipped(CLOCK, f"{now}; this machine cannot tell whether that is right")
    if synchronized == "no":
        return warning(CLOCK, f"{now}, not synchronized with a time server", _SET_CLOCK)
    return ok(CLOCK, f"{now}, synchronized with a time server")


def certificates(host: Host) -> Iterator[Finding]:
    """Check the dates of the certificates that the containers use."""
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
        fix = "configure writes it on a SuperLink, bootstrap on a SuperNode: fix what stops them, then reboot"
        return problem(CERTIFICATES, f"{path} does not exist", fix)
    except (OSError, ValueError) as error:
        fix = f"remove {path} and reboot: it is created again"
        return problem(CERTIFICATES, f"{path} is not a readable certificate ({error})", fix)


def _wrong_date(path: Path, certificate: x509.Certificate, now: datetime) -> Finding | None:
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now < begins:
        return problem(
            CERTIFICATES,
            f"{path} is valid from {begins:%Y-%m-%d %H:%M} UTC; the clock shows {now:%Y-%m-%d %H:%M}",
            _SET_CLOCK,
        )
    if now > ends:
        return problem(
            CERTIFICATES,
            f"{path} expired at {ends:%Y-%m-%d %H:%M} UTC; the clock shows {now:%Y-%m-%d %H:%M}",
            "check the clock; then reboot the SuperLink, which creates another, or replace your own",
        )
    if ends - now < RENEW_BEFORE - timedelta(days=1):
        fix = (
            "check that flower-report runs on the SuperLink: it renews oneflower's certificates, not your own"
        )
        return warning(CERTIFICATES, f"{path} expires at {ends:%Y-%m-%d %H:%M} UTC", fix)
    return None
