"""The one tree of expected errors: a stable code, a sentence for a person, and whether trying again can help.

No HTTP here: `api.errors` maps codes to statuses, the worker reads `retryable`.
"""


class AppError(Exception):
    """An expected error. `str(error)` is the sentence that the user reads."""

    code = "internal_error"
    retryable = False

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code

    @property
    def message(self) -> str:
        return str(self)


class RejectedImage(AppError):
    """The image itself is at fault; `code` says how (see `imaging.errors`)."""

    code = "invalid_image"


class InvalidRequest(AppError):
    """What was sent does not fit the interface."""

    code = "invalid_request"


class NotAuthenticated(AppError):
    """No credentials, or credentials that do not hold."""

    code = "not_authenticated"


class Forbidden(AppError):
    """The caller is known and may not do this."""

    code = "forbidden"


class NotFound(AppError):
    """There is no such thing, or it is somebody else's: the caller cannot tell which."""

    code = "not_found"


class Conflict(AppError):
    """The request does not fit the present state of the thing."""

    code = "conflict"


class Gone(AppError):
    """It was there, for as long as such things are kept."""

    code = "gone"


class TooManyRequests(AppError):
    """The caller has had what one may have for now."""

    code = "rate_limited"

    def __init__(self, message: str, *, code: str | None = None, retry_after: int, limit: int | None = None) -> None:
        """`retry_after`: in how many seconds there is more. `limit`: how much one may have."""
        super().__init__(message, code=code)
        self.retry_after = retry_after
        self.limit = limit


class ServiceUnavailable(AppError):
    """A part that the request needs cannot be reached just now."""

    code = "service_unavailable"
    retryable = True

    def __init__(self, message: str, *, code: str | None = None, retry_after: int = 5) -> None:
        """`retry_after`: in how many seconds it may be worth to try again."""
        super().__init__(message, code=code)
        self.retry_after = retry_after


class StorageUnavailable(ServiceUnavailable):
    """The object store did not answer, or answered with an error of its own; `reason` says why, where it is known."""

    code = "storage_unavailable"

    def __init__(self, message: str, *, reason: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason


class ObjectNotFound(AppError):
    """The object store answered, and has no such object."""

    code = "object_not_found"
