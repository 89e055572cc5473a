"""The OpenAPI description holds: made-up requests by it, right and wrong, get what it says."""

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, settings

from mtab_serve.openapi import document

SCHEMA = schemathesis.openapi.from_dict(document())
# What a clip must hold is beyond a schema; and 504 is the right answer to a deadline of a nanosecond.
LEFT_OUT = schemathesis.checks.CHECKS.get_by_names(["positive_data_acceptance", "not_a_server_error"])


@SCHEMA.parametrize()
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_request_meets_a_fault(case: schemathesis.Case, client: httpx.Client) -> None:
    answer = case.call(base_url=str(client.base_url))
    assert answer.status_code not in (500, 502), answer.text
    case.validate_response(answer, excluded_checks=LEFT_OUT)


@pytest.mark.parametrize("path", sorted(document()["paths"]))
def test_every_path_is_there(client: httpx.Client, path: str) -> None:
    assert client.get(path).status_code in (200, 405)
