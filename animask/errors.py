"""Known mistakes: one sentence, one hint and an exit code; the command line prints them without a traceback."""


class AnimaskError(Exception):
    """A failure: its `message`, a sentence for the user, a `hint` or "", and the `exit_code` of the command line."""

    exit_code = 1  # failed while running

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class InputError(AnimaskError):
    """Unreadable or unusable input, or a wrong option: exit 2."""

    exit_code = 2


class MissingError(AnimaskError):
    """Something needed is not there, a face in the picture or a weights file: exit 3."""

    exit_code = 3
