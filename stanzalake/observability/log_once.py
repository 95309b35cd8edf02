"""A trouble that may last: it is logged when it begins or becomes another, and when it is over."""

import logging


class LogOnce:
    """Keeps a log from repeating itself.

    Args:
        module: Name of the module whose log tells it.
        name: Whose trouble it is; empty if the log's name says it.
    """

    def __init__(self, module: str, name: str = "") -> None:
        self._log = logging.getLogger(module)
        self._prefix = f"{name}: " if name else ""
        self._text = ""

    def begin(self, text: str, level: int = logging.WARNING) -> None:
        """Tell of it, unless this very text was told last."""
        if text != self._text:
            self._log.log(level, "%s%s", self._prefix, text)
        self._text = text

    def end(self) -> None:
        """Tell that it is over, if there was one."""
        if self._text:
            self._log.info("%sworking again", self._prefix)
        self._text = ""
