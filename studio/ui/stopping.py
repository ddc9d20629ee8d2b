"""The end of a server: every signal that asks for it, and how long the end may take."""

import signal
from collections.abc import Generator
from contextlib import contextmanager, suppress

STOP_S = 10.0  # work that has not ended by then is abandoned
_NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGBREAK")


@contextmanager
def stops_on_signals() -> Generator[None, None, None]:
    """Make every signal that asks for the end a KeyboardInterrupt.

    Only the first one counts: a closed terminal and service managers send several, and the second
    must not interrupt what the first one removes. What was ignored before stays so, as with nohup.
    """
    known = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
    signals = [each for each in known if signal.getsignal(each) is not signal.SIG_IGN]

    def interrupt(_number: int, _frame: object) -> None:
        for each in signals:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {each: signal.getsignal(each) for each in signals}
    for each in signals:
        signal.signal(each, interrupt)
    try:
        yield
    finally:
        for each, handler in before.items():
            with suppress(TypeError):  # a handler of C, which Python cannot name
                signal.signal(each, handler)
