"""Amazon Web Services: refusals under 400 and 503, told by an error code in a header, in JSON or in XML; waits are never told."""

from __future__ import annotations

from .._dialect import Dialect

AWS = Dialect(
    name="aws",
    title="Amazon Web Services",
    docs=(
        "https://docs.aws.amazon.com/general/latest/gr/api-retries.html",
        "https://boto3.amazonaws.com/v1/documentation/api/latest/guide/retries.html",
        "https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html",
    ),
    hosts=("amazonaws.com", "api.aws"),
    headers=("x-amzn-errortype",),
    bodies=(b"amazonaws.com", b'"__type"', b"<ErrorResponse"),
)
