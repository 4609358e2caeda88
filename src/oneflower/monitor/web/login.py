"""The door for people: a form that turns the token into a cookie. Programs send the token as Bearer."""

from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from oneflower.monitor.html.document import document
from oneflower.monitor.html.markup import el
from oneflower.monitor.web.access import COOKIE, Token, TooSoonError, peer_of

LARGEST_BYTES: Final = 4096
KEPT_FOR_S: Final = 7 * 24 * 3600


@dataclass(frozen=True, slots=True)
class Login:
    """The route `/login`."""

    token: Token

    async def __call__(self, request: Request) -> Response:
        """Show the form, or take the token."""
        if request.method == "GET":
            return HTMLResponse(_form(""))
        try:
            if not self.token.matches(await _given(request), peer_of(request.scope)):
                return HTMLResponse(_form("That is not the token."), status_code=403)
        except TooSoonError as error:
            return HTMLResponse(_form(str(error)), status_code=429, headers=error.headers)
        answer = RedirectResponse("./", status_code=303)
        answer.set_cookie(
            COOKIE,
            self.token.session(),
            max_age=KEPT_FOR_S,
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
        return answer


async def _given(request: Request) -> str:
    content = b""
    async for piece in request.stream():
        content += piece
        if len(content) > LARGEST_BYTES:
            return ""
    fields = parse_qs(content.decode(errors="replace"))
    return fields.get("token", [""])[0].strip()


def _form(problem: str) -> str:
    form = el(
        "form",
        el("h1", "A token is needed"),
        el("p", problem, role="alert", class_="sign bad") if problem else None,
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
