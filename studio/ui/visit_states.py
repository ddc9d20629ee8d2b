"""What gradio remembers of visits, of which calls of others never drop an open one."""

from collections.abc import Callable

from gradio.state_holder import StateHolder


class VisitStates(StateHolder):
    """States of visits: the oldest without an open page makes room, whoever asks for room."""

    def __init__(self, is_open: Callable[[str], bool]) -> None:
        """Keep states of visits for which `is_open` is true."""
        super().__init__()
        self._is_open = is_open

    def update(self, session_id: str) -> None:
        """Note a use, and make room."""
        with self.lock:
            if session_id in self.session_data:
                self.session_data.move_to_end(session_id)
            spare = len(self.session_data) - self.capacity
            if spare <= 0:
                return
            others = [
                session
                for session in self.session_data
                if session != session_id and not self._is_open(session)
            ]
            for session in others[:spare]:
                del self.session_data[session]
                self.time_last_used.pop(session, None)
