"""Log lines of lasting conditions: one when the condition begins or changes, one when it ends."""

import logging


class LogOnce:
    """Logs a lasting condition once.

    Args:
        module: Name of the logger.
        name: Prefix of the lines, for a module with several instances.
    """

    def __init__(self, module: str, name: str = "") -> None:
        self._log = logging.getLogger(module)
        self._prefix = f"{name}: " if name else ""
        self._text = ""

    def begin(self, text: str, level: int = logging.WARNING) -> None:
        """Log the condition, unless the last line had the same text."""
        if text != self._text:
            self._log.log(level, "%s%s", self._prefix, text)
        self._text = text

    def end(self) -> None:
        """Log the end of the condition, if there was one."""
        if self._text:
            self._log.info("%sworking again", self._prefix)
        self._text = ""
