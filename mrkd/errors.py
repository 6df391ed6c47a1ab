"""The one exception that means 'the input was wrong', shown to users as a single line."""


class UserError(ValueError):
    """Bad input: says what was expected, what came and what to do. The command line exits with status 2."""
