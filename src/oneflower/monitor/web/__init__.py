"""The page over HTTP. Needs the extra `dashboard` (Starlette, uvicorn, prometheus-client)."""
