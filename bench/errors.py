"""The errors a user can cause, under the name the benchmark's own code uses."""

from distill.errors import EnvironmentUnfitError, UserError, disk_error

__all__ = ["EnvironmentUnfitError", "UserError", "disk_error"]
