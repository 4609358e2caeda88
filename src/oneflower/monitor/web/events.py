"""The changes of a page as server-sent events: the parts that differ from what this reader has."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Final

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from oneflower.monitor.html.page import Rendered, build
from oneflower.monitor.web.live import Live

# A round of two hundred clients brings hundreds of events a second: a page needs a few changes a second.
PACE_S: Final = 0.4
LOOK_EVERY_S: Final = 0.1
# A proxy drops a connection that is silent for long.
HEARTBEAT_S: Final = 15.0
MOST_READERS: Final = 64


class Events:
    """The route `/events`."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._readers = 0

    async def stream(self, request: Request) -> Response:
        """Answer with a stream that ends when the reader or the server goes."""
        if self._readers >= MOST_READERS:
            return PlainTextResponse("Too many pages are open.\n", status_code=503)
        have = self._live.remembered(request.query_params.get("have", ""))
        headers = {"X-Accel-Buffering": "no"}
        return StreamingResponse(self._changes(have), media_type="text/event-stream", headers=headers)

    async def _changes(self, have: Rendered | None) -> AsyncIterator[str]:
        self._readers += 1
        try:
            while not self._live.stop.is_set():
                page = await run_in_threadpool(self._live.page)
                yield _message(page, have)
                have = page
                async for beat in self._until_news(self._live.state):
                    yield beat
        finally:
            self._readers -= 1

    async def _until_news(self, state: object) -> AsyncIterator[str]:
        await asyncio.sleep(PACE_S)
        spoke = time.monotonic()
        while self._live.state == state and not self._live.stop.is_set():
            await asyncio.sleep(LOOK_EVERY_S)
            if time.monotonic() - spoke > HEARTBEAT_S:
                spoke = time.monotonic()
                yield ": still here\n\n"


def _message(page: Rendered, have: Rendered | None) -> str:
    known = have.sections if have else {}
    changed = {name: html for name, html in page.sections.items() if known.get(name) != html}
    news = {
        "version": page.version,
        "build": build(),
        "now": page.now,
        "title": page.title,
        "sections": changed,
    }
    return f"data: {json.dumps(news, ensure_ascii=False)}\n\n"
