"""Who may read the page: this machine, or whoever has the token."""

import hmac
import math
import secrets
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from typing import Final, Literal, Self

from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from oneflower.errors import SettingsError
from oneflower.monitor.web.attempts import Attempts
from oneflower.monitor.web.connections import PEER
from oneflower.settings.formats import is_loopback
from oneflower.settings.tokens import TOKEN

COOKIE: Final = "oneflower_session"
KEPT_FOR_S: Final = 7 * 24 * 3600
OPEN_PATHS: Final = ("/login", "/health")
DEEPEST: Final = 3
"""So many folders an address of an earlier start has at most, and is led back to the form."""
LINK: Final = "token"
"""The field of a query that opens the page, where the token is a drawn one."""
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
            f"the token cannot be used: {error}. Expected {TOKEN.expected}: create one with `{TOKEN.command}`"
        ) from error
    if not token and not is_loopback(host):
        raise SettingsError(
            f"--host {host} can be reached from other machines, expected a token with it: write one into a "
            "file with `(umask 077; openssl rand -hex 16 > token)` and name it with --token-file, or stay on "
            "127.0.0.1 and connect through `ssh -L 8265:127.0.0.1:8265 HOST`"
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
    """The secret that opens the page; empty where every user of this machine may read it.

    Attributes
    ----------
    is_drawn
        We drew it at random. Then a link may hold it, and as nobody can guess it no wrong one makes an
        address wait: on loopback that is everybody's, and another user could keep the owner out.
    start
        What tells this start of the server from others. A browser sends its cookie to whoever listens on the
        port while the server does not run: a cookie of an earlier start opens nothing.
    """

    value: str = field(default="", repr=False)
    attempts: Attempts = field(default_factory=Attempts, repr=False)
    is_drawn: bool = False
    start: str = field(default_factory=lambda: secrets.token_hex(16), repr=False)

    @classmethod
    def drawn(cls, value: str) -> Self:
        """Return a token that we drew ourselves."""
        return cls(value, is_drawn=True)

    @property
    def cookie(self) -> str:
        """The cookie's name. A browser sends cookies to every port, so two pages must not share a name."""
        return f"{COOKIE}_{self._proof(b'oneflower dashboard cookie')[:8]}"

    def link(self, address: str) -> str:
        """Return what to open in a browser."""
        return f"{address}?{LINK}={self.value}" if self.is_drawn else address

    @property
    def room(self) -> str:
        """The folder of the address whose requests carry the cookie of a drawn token; nobody guesses it.

        A browser sends a cookie to every port of a host, but only for its path: an open page of an earlier
        start, on a port that another user has taken, asks for another path.
        """
        return f"/{self._proof(b'oneflower dashboard room')[:32]}" if self.is_drawn else ""

    @property
    def way_in(self) -> str:
        """What to do without the token, or with one of an earlier start."""
        if self.is_drawn:
            return (
                "open the link that `oneflower up` printed last (each start has a new one), or send what "
                "dashboard-token in its state folder holds as `Authorization: Bearer TOKEN`"
            )
        return (
            "open the page and enter it (once more after each start of the server), or send it as "
            "`Authorization: Bearer TOKEN`"
        )

    def inside(self, given: str) -> str:
        """Return where the right token of a link or of the form becomes a cookie."""
        return f".{self.room}/?{LINK}={given}"

    def session(self) -> str:
        """Return what the cookie holds: proof of the token in this start, not the token."""
        return self._proof(b"oneflower dashboard session" + self.start.encode())

    def let_in(self, answer: Response, scheme: str, same_site: Literal["lax", "strict"] = "strict") -> None:
        """Give the reader the cookie."""
        answer.set_cookie(
            self.cookie,
            self.session(),
            max_age=KEPT_FOR_S,
            path=None if self.is_drawn else "/",  # none: the folder that was asked for, behind a proxy, too
            httponly=True,
            samesite=same_site,
            secure=scheme == "https",
        )

    def matches(self, given: str, peer: str) -> bool:
        """Compare in constant time, and note a wrong one; TooSoonError while the address has to wait."""
        pause_s = 0.0 if self.is_drawn else self.attempts.pause_s(peer)
        if pause_s > 0:
            raise TooSoonError(pause_s)
        right = hmac.compare_digest(given.encode(), self.value.encode())
        if not self.is_drawn:
            self.attempts.note(peer, right=right)
        return right

    def opens(self, headers: Headers, peer: str) -> bool:
        """Tell whether a request carries the token, or a cookie that proves it."""
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self.matches(given.strip(), peer)
        # Nobody guesses a cookie: it has 256 bits. One of an earlier start is no attempt.
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(self.cookie)
        except CookieError:
            return False
        return cookie is not None and hmac.compare_digest(cookie.value.encode(), self.session().encode())

    def _proof(self, purpose: bytes) -> str:
        return hmac.new(self.value.encode(), purpose, "sha256").hexdigest()


@dataclass(frozen=True, slots=True)
class Gate:
    """Lets a request through to the app that may see the training.

    Without a token only names of this machine are answered: a web page elsewhere, whose name was bent to
    127.0.0.1, must not read a training through the operator's browser.
    """

    app: ASGIApp
    token: Token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; whoever shows no token gets one answer a connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers, room = Headers(scope=scope), self.token.room
        if room and scope["path"].startswith(f"{room}/"):
            scope = {**scope, "path": scope["path"].removeprefix(room), "in_room": True}
        if not self.token.value:
            await (_wrong_name(headers.get("host", "")) or self.app)(scope, receive, send)
        elif self.token.is_drawn and (given := _of_link(scope)):
            await self._from_link(given, scope)(scope, receive, _once(send))
        else:
            refusal = self._refusal(headers, scope)
            is_open = refusal is not None or scope["path"] in OPEN_PATHS
            await (refusal or self.app)(scope, receive, _once(send) if is_open else send)

    def _from_link(self, given: str, scope: Scope) -> Response:
        """Turn the token of a link into a cookie, so that it does not stay in the browser's address."""
        if not self.token.matches(given, peer_of(scope)):
            return PlainTextResponse(
                "That is not the token of this page: open the link that `oneflower up` printed last. "
                "Each start has a new one.\n",
                status_code=403,
            )
        if not scope.get("in_room"):
            return RedirectResponse(self.token.inside(given), status_code=303)
        answer = RedirectResponse("./", status_code=303)
        # Strict would keep the cookie back where the link is followed from another page, such as a terminal
        # in the browser; no request changes anything here.
        self.token.let_in(answer, str(scope["scheme"]), "lax")
        return answer

    def _refusal(self, headers: Headers, scope: Scope) -> Response | None:
        try:
            if scope["path"] in OPEN_PATHS or self.token.opens(headers, peer_of(scope)):
                return None
        except TooSoonError as error:
            return PlainTextResponse(f"{error}\n", status_code=429, headers=error.headers)
        depth = str(scope["path"]).count("/") - 1
        if depth < DEEPEST and "text/html" in headers.get("accept", ""):
            return RedirectResponse("../" * depth + "login", status_code=303)
        return PlainTextResponse(
            f"A token is needed: {self.token.way_in}.\n",
            status_code=401,
            headers={"WWW-Authenticate": "Bearer"},
        )


def _of_link(scope: Scope) -> str:
    return QueryParams(scope["query_string"]).get(LINK, "") if scope["path"] == "/" else ""


def _once(send: Send) -> Send:
    """Close the connection after the answer: a thousand requests that were sent at once get one."""

    async def closing(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message)["Connection"] = "close"
        await send(message)

    return closing


def peer_of(scope: Scope) -> str:
    """Return the address at the other end of the connection; a header cannot change it."""
    return str(scope.get("state", {}).get(PEER, ""))


def _wrong_name(host: str) -> Response | None:
    name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
    if name in LOCAL_NAMES:
        return None
    return PlainTextResponse(f"Ask for 127.0.0.1 instead of {name!r}.\n", status_code=421)
