"""How a server is operated: its log, its counters, and who may use it."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from studio.ui.login import Logins, read_logins
from studio.ui.telemetry import Telemetry, open_access_log, serve_metrics


@dataclass(frozen=True, kw_only=True, slots=True)
class Operation:
    """How a server is operated.

    Attributes:
        telemetry: Counts and logs requests.
        logins: Who may use the page; None for everybody.
    """

    telemetry: Telemetry = field(default_factory=Telemetry)
    logins: Logins | None = None


@contextmanager
def operated(
    auth: Path | None, access_log: Path | None, metrics_port: int | None
) -> Generator[Operation, None, None]:
    """Read the logins, open the log, and offer the counters until the end.

    Args:
        auth: File of logins.
        access_log: File for a line per request.
        metrics_port: Port of this machine for counters.

    Raises:
        UsageError: A file cannot be used, or the port is taken.
    """
    logins = None if auth is None else read_logins(auth)
    log = None if access_log is None else open_access_log(access_log)
    telemetry = Telemetry(log)
    metrics = None if metrics_port is None else serve_metrics(telemetry, metrics_port)
    try:
        yield Operation(telemetry=telemetry, logins=logins)
    finally:
        if metrics is not None:
            metrics.shutdown()
            metrics.server_close()
        for handler in () if log is None else log.handlers:
            handler.close()
