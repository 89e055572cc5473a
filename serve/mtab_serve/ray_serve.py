"""The server on Ray Serve: ``serve run mtab.ray:app bundle=DIR``."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from ray import serve
from ray.serve import Application, Deployment
from starlette.types import ASGIApp

from mtab.config import from_dict
from mtab.errors import ConfigError
from mtab_serve.app import create_app
from mtab_serve.gate import log_to_streams
from mtab_serve.service import Service
from mtab_serve.settings import Settings, named_bundles, token_from_environment

_SOURCE = "mtab.ray:app"


@dataclass(frozen=True, slots=True)
class Scaling:
    """How many replicas there are, and what each has beside its ``threads`` of CPU: a share of GPUs.

    There are as many as it takes for each to have ``target_ongoing_requests`` in work.
    """

    num_gpus: float = 0.0
    min_replicas: int = 1
    max_replicas: int = 1
    target_ongoing_requests: float = 16.0


def deployment(settings: Settings) -> Deployment:
    """The whole server as a deployment of Ray Serve, each replica with engines and batches of its own."""

    def build() -> ASGIApp:
        log_to_streams()
        return create_app(Service(settings))

    most = settings.max_concurrency
    make = serve.deployment(name="mtab", max_ongoing_requests=most)
    return cast(Deployment, make(serve.ingress(build)()))


def app(args: Mapping[str, Any]) -> Application:
    """An application for ``serve run`` and Serve's config file.

    ``bundle`` is a folder that every node has, or several as ``name=folder,name=folder``; the rest are fields
    of `Scaling` and `Settings`, with a thread for each replica as it comes. The token is that of the
    environment in which the application is built. Raises `ConfigError` for what is missing, unknown or of
    another type.
    """
    given = {name: _value(value) for name, value in args.items()}
    bundle = given.pop("bundle", None)
    if not isinstance(bundle, str):
        raise ConfigError(f"{_SOURCE}: bundle is {bundle!r}, expected a folder")
    own = {field.name for field in dataclasses.fields(Scaling)}
    scaling = from_dict(Scaling, {name: given.pop(name) for name in own & given.keys()}, _SOURCE)
    served = {"bundles": named_bundles(bundle.split(",")), "token": token_from_environment()}
    settings = from_dict(Settings, {"threads": 1, **given, **served}, _SOURCE)
    return (
        deployment(settings)
        .options(
            ray_actor_options={"num_cpus": settings.threads, "num_gpus": scaling.num_gpus},
            autoscaling_config={
                "min_replicas": scaling.min_replicas,
                "max_replicas": scaling.max_replicas,
                "target_ongoing_requests": scaling.target_ongoing_requests,
            },
        )
        .bind()
    )


def _value(value: Any) -> Any:
    """A number that a command line has as a text."""
    try:
        number = json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return value
    return number if type(number) in (int, float) else value
