"""The server on Ray Serve: ``serve run mtab.ray:app bundle=DIR``."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from ray import serve
from ray.serve import Application, Deployment
from starlette.types import ASGIApp

from mtab.config import from_dict
from mtab.limits import BATCH_SECONDS, BATCH_SIZE, MAX_CHARACTERS, MAX_SECONDS
from mtab.types import Precision
from mtab_serve.app import create_app
from mtab_serve.gate import log_to_streams
from mtab_serve.service import Service
from mtab_serve.settings import (
    MAX_BODY,
    MAX_CONCURRENCY,
    MAX_QUEUE,
    READ_TIMEOUT,
    Settings,
    named_bundles,
    token_from_environment,
)


@dataclass(frozen=True, slots=True)
class Arguments:
    """What an application is started with.

    ``bundle`` is a folder that every node has, or several as ``name=folder,name=folder``. Each replica has
    ``threads`` CPUs and the share ``num_gpus`` of GPUs; there are from ``min_replicas`` to ``max_replicas``,
    as many as it takes for each to have ``target_ongoing_requests`` in work. The rest is as in `Settings`.
    """

    bundle: str
    threads: int = 1
    num_gpus: float = 0.0
    min_replicas: int = 1
    max_replicas: int = 1
    target_ongoing_requests: float = 16.0
    device: str = "auto"
    engine: str = "auto"
    precision: Precision | Literal["auto"] = "auto"
    batch_size: int = BATCH_SIZE
    batch_seconds: float = BATCH_SECONDS
    max_latency: float = 0.01
    max_seconds: float = MAX_SECONDS
    max_characters: float = MAX_CHARACTERS
    max_body: int = MAX_BODY
    max_concurrency: int = MAX_CONCURRENCY
    max_queue: int = MAX_QUEUE
    read_timeout: float = READ_TIMEOUT

    def settings(self) -> Settings:
        """How a replica serves; the token is that of the environment in which the application is built."""
        return Settings(
            bundles=named_bundles(self.bundle.split(",")),
            device=self.device,
            engine=self.engine,
            precision=self.precision,
            threads=self.threads,
            batch_size=self.batch_size,
            batch_seconds=self.batch_seconds,
            max_latency=self.max_latency,
            max_seconds=self.max_seconds,
            max_characters=self.max_characters,
            max_body=self.max_body,
            max_concurrency=self.max_concurrency,
            max_queue=self.max_queue,
            read_timeout=self.read_timeout,
            token=token_from_environment(),
        )


def deployment(settings: Settings) -> Deployment:
    """The whole server as a deployment of Ray Serve, each replica with engines and batches of its own."""

    def build() -> ASGIApp:
        log_to_streams()
        return create_app(Service(settings))

    most = settings.max_concurrency
    make = serve.deployment(name="mtab", max_ongoing_requests=most)
    return cast(Deployment, make(serve.ingress(build)()))


def app(args: Mapping[str, Any]) -> Application:
    """An application for ``serve run`` and Serve's config file; ``args`` are those of `Arguments`.

    Raises `ConfigError` for one that is missing, unknown or of another type.
    """
    given = from_dict(Arguments, {name: _value(value) for name, value in args.items()}, "mtab.ray:app")
    return (
        deployment(given.settings())
        .options(
            ray_actor_options={"num_cpus": given.threads, "num_gpus": given.num_gpus},
            autoscaling_config={
                "min_replicas": given.min_replicas,
                "max_replicas": given.max_replicas,
                "target_ongoing_requests": given.target_ongoing_requests,
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
