"""Who may read the page: this machine, or whoever has the token."""

import hmac
import math
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from typing import Final

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from oneflower.errors import SettingsError
from oneflower.monitor.web.attempts import Attempts
from oneflower.monitor.web.connections import PEER
from oneflower.settings.formats import TOKEN, is_loopback

COOKIE: Final = "oneflower_session"
OPEN_PATHS: Final = ("/login", "/health")
LOCAL_NAMES: Final = ("127.0.0.1", "localhost", "[::1]")


def check_access(host: str, token: str) -> None:
    """Refuse to show a training to a network without a token.

    Raises
    ------
    SettingsError
        The address is not this machine's own and there is no token, or it can be guessed.
    """
    try:
        if token:
            TOKEN.parse(token)
    except ValueError as error:
        raise SettingsError(
            f"the token cannot be used: {error}. Expected {TOKEN.expected}, that nobody can guess: make one "
            "with `openssl rand -hex 16`"
        ) from error
    if not token and not is_loopback(host):
        raise SettingsError(
            f"--host {host} can be reached from other machines, expected a token with it: put one into a "
            "file (`openssl rand -hex 16` makes one) and name it with --token-file, or stay on 127.0.0.1 "
            "and come through `ssh -L`"
        )


class TooSoonError(Exception):
    """A token was sent while its address had to wait after a wrong one."""

    def __init__(self, pause_s: float) -> None:
        wait = f"wait {math.ceil(pause_s)} s, then send the right one."
        super().__init__(f"Too many wrong tokens from this address: {wait}")
        self.pause_s = pause_s

    @property
    def headers(self) -> dict[str, str]:
        """How long to wait, for a program."""
        return {"Retry-After": str(math.ceil(self.pause_s))}


@dataclass(frozen=True, slots=True)
class Token:
    """The secret that opens the page; empty where only this machine can come."""

    value: str = field(default="", repr=False)
    attempts: Attempts = field(default_factory=Attempts, repr=False)

    def session(self) -> str:
        """Return what the cookie holds: proof of the token, not the token."""
        return hmac.new(self.value.encode(), b"oneflower dashboard session", "sha256").hexdigest()

    def matches(self, given: str, peer: str) -> bool:
        """Compare in constant time, and note a wrong one; TooSoonError while the address has to wait."""
        pause_s = self.attempts.pause_s(peer)
        if pause_s > 0:
            raise TooSoonError(pause_s)
        right = hmac.compare_digest(given.encode(), self.value.encode())
        self.attempts.note(peer, right=right)
        return right

    def opens(self, headers: Headers, peer: str) -> bool:
        """Tell whether a request carries the token, or a cookie that proves it."""
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self.matches(given.strip(), peer)
        # Nobody guesses a cookie: it has 256 bits. One of an earlier token is no attempt.
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            return False
        return cookie is not None and hmac.compare_digest(cookie.value.encode(), self.session().encode())


@dataclass(frozen=True, slots=True)
class Gate:
    """Lets a request through to the app that may see the training.

    Without a token only names of this machine are answered: a web page elsewhere, whose name was bent to
    127.0.0.1, must not read a training through the operator's browser.
    """

    app: ASGIApp
    token: Token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        await (refusal or self.app)(scope, receive, send)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        if not self.token.value:
            return _wrong_name(headers.get("host", ""))
        try:
            if scope["path"] in OPEN_PATHS or self.token.opens(headers, peer_of(scope)):
                return None
        except TooSoonError as error:
            return PlainTextResponse(f"{error}\n", status_code=429, headers=error.headers)
        if "text/html" in headers.get("accept", ""):
            return RedirectResponse("login", status_code=303)
        return PlainTextResponse(
            "A token is needed: send it as `Authorization: Bearer TOKEN`.\n",
            status_code=401,
            headers={"WWW-Authenticate": "Bearer"},
        )


def peer_of(scope: Scope) -> str:
    """Return the address at the other end of the connection; a header cannot change it."""
    return str(scope.get("state", {}).get(PEER, ""))


def _wrong_name(host: str) -> Response | None:
    name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
    if name in LOCAL_NAMES:
        return None
    return PlainTextResponse(f"Ask for 127.0.0.1 instead of {name!r}.\n", status_code=421)
