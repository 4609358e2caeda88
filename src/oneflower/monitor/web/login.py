"""The door for people: a form that turns the token into a cookie. Programs send the token as Bearer."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from oneflower.monitor.html.document import document
from oneflower.monitor.html.markup import el
from oneflower.monitor.web.access import Token, TooSoonError, peer_of

LARGEST_BYTES: Final = 4096
FROM_UP: Final = (
    "`oneflower up` prints a link that holds it, a new one at each start: open that. The token is in the "
    "file dashboard-token of the state folder."
)


@dataclass(frozen=True, slots=True)
class Login:
    """The route `/login`."""

    token: Token

    async def __call__(self, request: Request) -> Response:
        """Show the form, or take the token."""
        if request.method == "GET":
            return HTMLResponse(_form("", is_drawn=self.token.is_drawn))
        try:
            given = await _given(request)
            if not self.token.matches(given, peer_of(request.scope)):
                return HTMLResponse(
                    _form("That is not the token.", is_drawn=self.token.is_drawn), status_code=403
                )
        except TooSoonError as error:
            return HTMLResponse(_form(str(error)), status_code=429, headers=error.headers)
        if self.token.is_drawn:
            return RedirectResponse(self.token.inside(given), status_code=303)
        answer = RedirectResponse("./", status_code=303)
        self.token.let_in(answer, request.url.scheme)
        return answer


async def _given(request: Request) -> str:
    content = b""
    async for piece in request.stream():
        content += piece
        if len(content) > LARGEST_BYTES:
            return ""
    fields = parse_qs(content.decode(errors="replace"))
    return fields.get("token", [""])[0].strip()


@lru_cache(maxsize=32)
def _form(problem: str, *, is_drawn: bool = False) -> str:
    form = el(
        "form",
        el("h1", "A token is needed"),
        el("p", problem, role="alert", class_="sign bad") if problem else None,
        el("p", FROM_UP) if is_drawn else None,
        el(
            "label",
            "Token",
            el("input", type="password", name="token", autocomplete="current-password", required=True),
        ),
        el("button", "Show the training", type="submit"),
        method="post",
        action="login",
    )
    return document(title="oneflower", content=form)
