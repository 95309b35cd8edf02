"""HTTP servers on the addresses of settings."""

from aiohttp import web

from stanzalake.errors import SettingsError


async def listen(runner: web.AppRunner, host: str, port: int, setting: str) -> None:
    """Serve on an address.

    Args:
        runner: The server, set up.
        host: Host to listen on.
        port: Port to listen on.
        setting: Name of the setting that has the address, quoted in the error.

    Raises:
        SettingsError: The address cannot be used.
    """
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise SettingsError(f"{setting}={host}:{port} cannot be used: {reason}") from None
