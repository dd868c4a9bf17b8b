"""InputError: bad input from outside; its message names the place and the cure."""


class InputError(Exception):
    """Bad input from outside: a config key, a data row, a model directory, a flag.

    Stages print the message without a traceback and exit with status 2.
    """
