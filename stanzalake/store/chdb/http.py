"""The part of ClickHouse's HTTP interface that `clickhouse-connect` uses, on the embedded engine.

Parameters, settings, Native inserts, zstd in both directions, errors in a server's format
(https://clickhouse.com/docs/interfaces/http). No native protocol, sessions or quotas.
"""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http import HTTPStatus
from io import BytesIO

import zstandard
from aiohttp import BasicAuth, hdrs, web
from aiohttp.typedefs import Middleware

from stanzalake.store.chdb.engine import Engine, EngineError, Result, Statement

HOST = "127.0.0.1"
MAX_BODY = 256 * 1024 * 1024
"""Limit on the bytes of a request, before and after decompression."""

LogIn = Callable[[str, str], Sequence[str]]
"""Authenticates a user by password; returns the statements that prepare the user's connection.

Raises `EngineError` for an unknown user or a wrong password.
"""

_AUTHENTICATION_FAILED = 516
_CANNOT_DECOMPRESS = 271
_NOT_IMPLEMENTED = 48
_POCO_EXCEPTION = 1000
_TOO_LARGE = 131
_MAX_URL = 1024 * 1024
_MAX_FIELD = 128 * 1024
"""Limit on the bytes of a URL or form field: a server's `http_max_field_value_size`."""
_STOP_SECONDS = 5.0
_THREADS = 8
_NOT_SETTINGS = frozenset(
    {
        *("query", "database", "user", "password", "query_id", "session_id", "wait_end_of_query"),
        *("client_protocol_version", "enable_http_compression", "default_format"),
    }
)
"""URL parameters that are not settings of the engine."""
_HEADERS = {"database": "X-ClickHouse-Database", "default_format": "X-ClickHouse-Format"}
_PARAMETER = "param_"


def runner(
    engine: Engine,
    log_in: LogIn,
    middlewares: Sequence[Middleware] = (),
    threads: int = _THREADS,
) -> web.AppRunner:
    """Return a runner that serves the engine. Its shutdown cancels running statements.

    Args:
        engine: Runs the statements; stays open.
        log_in: Authenticates users.
        middlewares: aiohttp middlewares around every request.
        threads: Statements at a time.
    """
    application = web.Application(client_max_size=MAX_BODY, middlewares=middlewares)
    server = _Server(engine, log_in, threads)
    application.router.add_get("/ping", _ping)
    application.router.add_route("*", "/", server.answer)
    application.on_shutdown.append(server.stop)
    return web.AppRunner(
        application,
        access_log=None,
        auto_decompress=False,
        max_line_size=_MAX_URL,
        shutdown_timeout=_STOP_SECONDS,
    )


def engine_error(code: int, text: str, name: str) -> EngineError:
    """Return an error in a server's format: https://clickhouse.com/docs/interfaces/http."""
    return EngineError(f"Code: {code}. DB::Exception: {text}. ({name})")


def authentication_failed(user: str) -> EngineError:
    """Return the error for an unknown user or a wrong password."""
    text = f"{user}: password is incorrect, or there is no user with such name"
    return engine_error(_AUTHENTICATION_FAILED, text, "AUTHENTICATION_FAILED")


class _Server:
    def __init__(self, engine: Engine, log_in: LogIn, threads: int) -> None:
        self._engine = engine
        self._log_in = log_in
        # Separate from asyncio's default executor, which long statements would fill.
        self._threads = ThreadPoolExecutor(threads, "engine")

    async def answer(self, request: web.Request) -> web.Response:
        """Authenticate, then run the statement of a request."""
        try:
            preparation = self._log_in(*_credentials(request))
            form, body = await _content(request)
            work = partial(self._run, request, form, body, preparation)
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except EngineError as error:
            return _error_response(error)

    def _run(
        self,
        request: web.Request,
        form: Mapping[str, str],
        body: bytes,
        preparation: Sequence[str],
    ) -> web.Response:
        content = _decompress(body, request.headers.get(hdrs.CONTENT_ENCODING, ""))
        statement = _statement({**_from_headers(request), **request.query, **form}, content)
        result = self._engine.run(statement, preparation)
        headers = {"X-ClickHouse-Summary": _summary(result)}
        if not _accepts_zstd(request):
            return web.Response(body=result.data, headers=headers)
        headers[hdrs.CONTENT_ENCODING] = "zstd"
        return web.Response(body=zstandard.compress(result.data), headers=headers)

    async def stop(self, _: web.Application) -> None:
        """Cancel running statements, which no client waits for any more."""
        await asyncio.to_thread(self._engine.interrupt)
        self._threads.shutdown(wait=False, cancel_futures=True)


async def _ping(_: web.Request) -> web.Response:
    return web.Response(text="Ok.\n")


def _credentials(request: web.Request) -> tuple[str, str]:
    if hdrs.AUTHORIZATION in request.headers:
        try:
            basic = BasicAuth.decode(request.headers[hdrs.AUTHORIZATION], "utf-8")
        except ValueError as error:
            raise authentication_failed("") from error
        return basic.login, basic.password
    user = request.headers.get("X-ClickHouse-User") or request.query.get("user", "default")
    return user, request.headers.get("X-ClickHouse-Key") or request.query.get("password", "")


async def _content(request: web.Request) -> tuple[Mapping[str, str], bytes]:
    """Return the fields of a multipart form, or the bytes of the body."""
    try:
        if request.content_type != "multipart/form-data":
            return {}, await request.read()
        fields = await request.post()
    except web.HTTPRequestEntityTooLarge as error:
        raise _too_large() from error
    return {name: value for name, value in fields.items() if isinstance(value, str)}, b""


def _summary(result: Result) -> str:
    """Return a server's statistics of a result: to the JDBC driver, one without has no rows."""
    numbers = {
        "read_rows": result.read_rows,
        "read_bytes": result.read_bytes,
        "result_rows": result.rows,
    }
    return json.dumps({name: str(number) for name, number in numbers.items()})


def _from_headers(request: web.Request) -> Mapping[str, str]:
    """Return the URL parameters that a request gives as headers, as the JDBC driver does."""
    return {
        parameter: request.headers[header]
        for parameter, header in _HEADERS.items()
        if header in request.headers
    }


def _accepts_zstd(request: web.Request) -> bool:
    accepted = "zstd" in request.headers.get(hdrs.ACCEPT_ENCODING, "")
    return accepted and request.query.get("enable_http_compression") != "0"


def _decompress(body: bytes, encoding: str) -> bytes:
    if encoding not in {"", "zstd"}:
        raise engine_error(_NOT_IMPLEMENTED, "Unknown content encoding", "NOT_IMPLEMENTED")
    if not encoding:
        return body
    # Clients compress in blocks: a body has many frames.
    reader = zstandard.ZstdDecompressor().stream_reader(BytesIO(body), read_across_frames=True)
    try:
        content = reader.read(MAX_BODY + 1)
    except zstandard.ZstdError as error:
        raise engine_error(
            _CANNOT_DECOMPRESS, "The body is not zstd", "CANNOT_DECOMPRESS"
        ) from error
    if len(content) > MAX_BODY:
        raise _too_large()
    return content


def _too_large() -> EngineError:
    return engine_error(_TOO_LARGE, f"A request is over {MAX_BODY} bytes", "TOO_LARGE_STRING_SIZE")


def _statement(fields: Mapping[str, str], body: bytes) -> Statement:
    if any(len(value.encode()) > _MAX_FIELD for value in fields.values()):
        raise engine_error(_POCO_EXCEPTION, "Field value too long", "POCO_EXCEPTION")
    query = fields.get("query", "").encode()
    others = {name: value for name, value in fields.items() if name not in _NOT_SETTINGS}
    return Statement(
        text=b"\n".join(part for part in (query, body) if part),
        database=fields.get("database", ""),
        parameters={
            name.removeprefix(_PARAMETER): value
            for name, value in others.items()
            if name.startswith(_PARAMETER)
        },
        settings={n: value for n, value in others.items() if not n.startswith(_PARAMETER)},
        format=fields.get("default_format") or "TabSeparated",
    )


def _error_response(error: EngineError) -> web.Response:
    return web.Response(
        status=HTTPStatus.FORBIDDEN
        if error.code == _AUTHENTICATION_FAILED
        else HTTPStatus.INTERNAL_SERVER_ERROR,
        text=f"{error.text}\n",
        headers={"X-ClickHouse-Exception-Code": str(error.code)},
    )
