"""Who may read the page: this machine, or whoever has the token."""

import asyncio
import hmac
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from typing import Final

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from oneflower.errors import SettingsError
from oneflower.settings.formats import SHORTEST_TOKEN, is_loopback

COOKIE: Final = "oneflower_session"
OPEN_PATHS: Final = ("/login", "/health")
LOCAL_NAMES: Final = ("127.0.0.1", "localhost", "[::1]")
# A wrong token costs so long: guessing sixteen characters takes for ever.
WRONG_TOKEN_S: Final = 1.0


def check_access(host: str, token: str) -> None:
    """Refuse to show a training to a network without a token.

    Raises
    ------
    SettingsError
        The address is not this machine's own and there is no token, or it is too short.
    """
    if token and len(token) < SHORTEST_TOKEN:
        raise SettingsError(
            f"the token has {len(token)} characters, expected {SHORTEST_TOKEN} or more: "
            "make one with `openssl rand -hex 16`"
        )
    if not token and not is_loopback(host):
        raise SettingsError(
            f"--host {host} can be reached from other machines, expected a token with it: put one into a "
            "file (`openssl rand -hex 16` makes one) and name it with --token-file, or stay on 127.0.0.1 "
            "and come through `ssh -L`"
        )


@dataclass(frozen=True, slots=True)
class Token:
    """The secret that opens the page; empty where only this machine can come."""

    value: str = field(default="", repr=False)

    def session(self) -> str:
        """Return what the cookie holds: proof of the token, not the token."""
        return hmac.new(self.value.encode(), b"oneflower dashboard session", "sha256").hexdigest()

    async def matches(self, given: str) -> bool:
        """Compare in constant time; a wrong one waits."""
        right = hmac.compare_digest(given.encode(), self.value.encode())
        if not right:
            await asyncio.sleep(WRONG_TOKEN_S)
        return right

    def opens(self, headers: Headers) -> bool:
        """Tell whether a request carries the token, or a cookie that proves it."""
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return hmac.compare_digest(given.strip().encode(), self.value.encode())
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
        if scope["path"] in OPEN_PATHS or self.token.opens(headers):
            return None
        if "text/html" in headers.get("accept", ""):
            return RedirectResponse("login", status_code=303)
        return PlainTextResponse(
            "A token is needed: send it as `Authorization: Bearer TOKEN`.\n",
            status_code=401,
            headers={"WWW-Authenticate": "Bearer"},
        )


def _wrong_name(host: str) -> Response | None:
    name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
    if name in LOCAL_NAMES:
        return None
    return PlainTextResponse(f"Ask for 127.0.0.1 instead of {name!r}.\n", status_code=421)
