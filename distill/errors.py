"""The errors a user can cause, and the exit code each ends a command with."""


class UserError(Exception):
    """Wrong use or bad input: exit code 2. One whole, actionable line for each problem."""

    exit_code = 2

    def __init__(self, *problems: str) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


class EnvironmentUnfitError(UserError):
    """The machine cannot do what was asked (no such device, a missing extra): exit code 4."""

    exit_code = 4
