"""Errors that end a command with one line."""

from app.core.errors import AppError


class UsageProblem(AppError):
    """The command was asked for something that makes no sense; nothing has been done."""

    code = "usage"


class FileProblem(AppError):
    """One picture could not be done; the others are not concerned."""

    code = "file"


class TaskProblem(FileProblem):
    """The service has taken the picture and has no result of it: it failed, or is kept no longer."""


class SettingsProblem(AppError):
    """`.env` or the environment holds a setting that makes no sense, or lacks one that is needed."""

    code = "settings"
