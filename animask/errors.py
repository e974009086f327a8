"""Known mistakes: one sentence, one hint and an exit code; the command line prints them without a traceback."""


class AnimaskError(Exception):
    """A failure with a sentence for the user."""

    exit_code = 1  # of the command line: failed while running

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message  # what is wrong, one sentence
        self.hint = hint  # what to do about it, one sentence or empty


class InputError(AnimaskError):
    """Unreadable or unusable input, or a wrong option: exit 2."""

    exit_code = 2


class MissingError(AnimaskError):
    """Something needed is not there, a face in the picture or a weights file: exit 3."""

    exit_code = 3
