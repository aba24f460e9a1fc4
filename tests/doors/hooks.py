"""What schemathesis has to know of this API beyond its description; it loads this module by itself."""

from typing import Any

import schemathesis
from hypothesis import strategies as st

from app.api.compat import removebg_errors
from app.api.compat.removebg_errors import RemoveBgErrors
from app.api.errors import MEDIA_TYPE
from tests.pictures import encoded, subject

PICTURES = [encoded(subject(80, 60), kind) for kind in ("JPEG", "PNG", "WEBP")]
MEMBERS = {"type", "title", "status", "detail", "code", "request_id"}

# One that has a subject first: what is drawn least can be worked on.
schemathesis.openapi.format("binary", st.sampled_from(PICTURES) | st.binary())


@schemathesis.check
def every_error_is_a_problem(
    context: schemathesis.CheckContext, response: schemathesis.Response, case: schemathesis.Case[Any]
) -> None:
    """Also those that no route describes, such as a method that it does not have."""
    if response.status_code < 400 or case.path.endswith("/health"):
        return
    if removebg_errors.concerns(case.path):
        assert response.headers["content-type"] == [removebg_errors.MEDIA_TYPE]
        RemoveBgErrors.model_validate(response.json(), extra="forbid")
        return
    assert response.headers["content-type"] == [MEDIA_TYPE]
    body = response.json()
    assert set(body) - {"errors"} == MEMBERS
    assert body["status"] == response.status_code
    assert response.headers["x-request-id"] == [body["request_id"]]
