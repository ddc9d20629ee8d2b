"""Embeds on a cluster: Ray Data hands out files, every worker embeds them as one machine does.

The program that was started keeps the index: it commits what the workers send, so that a stopped
run is taken up where its last commit was, and a worker that dies costs the files it had in hand.
Pictures and kit must lie at the same path on every machine.
"""

import logging
import os
import socket
import warnings
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import ray
import ray.data
import torch
from jaxtyping import Shaped
from ray.exceptions import RayError

from composer.backbone import Backbone
from retrieval.errors import GalleryError
from retrieval.indexing.embed import DEFAULT_EMBED_OPTIONS, EmbedOptions, LocalEmbedder, Result
from retrieval.indexing.walk import Candidate
from retrieval.indexing.wire import candidates_of, results_of, rows_of_candidates, rows_of_results

FILES_AT_ONCE = 512  # what a worker has in hand: some seconds of work
LEAST_CPUS = 4  # with fewer declared, Ray Data waits for ever
CPUS_PER_WORKER = 4


class ClusterEmbedder:
    """Embeds on the cluster that RAY_ADDRESS names, or with workers on this machine without one."""

    def __init__(
        self,
        source: str | Path,
        gallery_hash: str,
        *,
        device: str = "cpu",
        options: EmbedOptions = DEFAULT_EMBED_OPTIONS,
        files_at_once: int = FILES_AT_ONCE,
    ) -> None:
        """Join the cluster, or start workers here, and remember what they need.

        Args:
            source: The backbone, as `Backbone.load` takes it on every machine.
            gallery_hash: Its own; a worker that finds another refuses.
            device: "cuda" gives every worker a GPU.
            options: As for one machine.
            files_at_once: Files that a worker is given at once.

        Raises:
            GalleryError: The cluster has so few CPUs that Ray Data would wait for ever.
        """
        start()
        self._worker: dict[str, Any] = {
            "source": source, "gallery_hash": gallery_hash, "device": device, "options": options
        }  # fmt: skip
        self._files_at_once = files_at_once

    def embed(self, fresh: Sequence[Candidate], seen: Collection[str]) -> Iterator[Result]:
        """Yield what became of each file, in their order.

        A file with the content of one in another worker's hands is embedded twice.

        Raises:
            GalleryError: The cluster gives up, or a worker finds another encoder.
        """
        if not fresh:
            return
        try:
            ids = ray.put(np.sort(np.array([*seen], "S32")))
            results = self._dataset(fresh).map_batches(
                _Worker,
                batch_size=self._files_at_once,
                batch_format="pyarrow",
                fn_constructor_kwargs=self._worker | {"seen": ids},
                **_shares(self._worker["device"]),
            )
            for rows in results.iter_batches(batch_size=None, batch_format="pyarrow"):
                yield from results_of(rows, fresh)
        except RayError as error:
            raise GalleryError(
                f"The cluster has stopped embedding: {_reason(error)} What was committed is kept; "
                "run the command again to go on."
            ) from error

    def _dataset(self, fresh: Sequence[Candidate]) -> ray.data.Dataset:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.execution_options.preserve_order = True  # of two copies, the first by name stays
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        rows = rows_of_candidates(fresh)
        blocks = [
            rows.slice(start, self._files_at_once)
            for start in range(0, len(fresh), self._files_at_once)
        ]
        return ray.data.from_arrow(blocks)


class _Worker:
    """What runs on every machine: the embedder of one machine, over files that it is handed."""

    def __init__(
        self,
        source: str | Path,
        gallery_hash: str,
        device: str,
        options: EmbedOptions,
        seen: "ray.ObjectRef[Shaped[np.ndarray, ' n']]",
    ) -> None:
        torch.set_num_threads(CPUS_PER_WORKER)
        backbone = Backbone.load(source, device=device)
        if backbone.gallery_hash != gallery_hash:
            raise GalleryError(
                f"The encoder {source} of a worker must be {gallery_hash}, got "
                f"{backbone.gallery_hash}; every machine needs the same kit."
            )
        self._embedder = LocalEmbedder(backbone, options)
        self._seen = {one.decode() for one in ray.get(seen)}

    def __call__(self, rows: pa.Table) -> pa.Table:
        return rows_of_results(self._embedder.embed(candidates_of(rows), self._seen), rows)


def start() -> None:
    """Join the cluster, or start workers here.

    Raises:
        GalleryError: The cluster does not answer, or has so few CPUs that Ray Data would wait for
            ever.
    """
    if not ray.is_initialized():
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anyone
        # 2026-11: Ray Data's own way to start workers makes it warn, at each start.
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        if address := os.environ.get("RAY_ADDRESS"):
            try:
                _knock(address)
                ray.init(**quiet)
            except (OSError, RuntimeError, ValueError) as error:
                raise GalleryError(
                    f"The cluster {address} does not answer; check RAY_ADDRESS and ray status."
                ) from error
        else:
            _start_here(**quiet)
    found = _total("CPU")
    if found < LEAST_CPUS:
        raise GalleryError(
            f"The cluster must declare {LEAST_CPUS} CPUs or more, got {found}. Start it with: "
            f"ray start --head --num-cpus={LEAST_CPUS}"
        )


def _knock(address: str) -> None:
    """Find out in seconds whether anybody listens at HOST:PORT; Ray would take minutes."""
    host, _, port = address.rpartition("/")[2].rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=10).close()


def _start_here(**quiet: Any) -> None:  # noqa: ANN401  what `ray.init` takes
    num_cpus = max(LEAST_CPUS, os.cpu_count() or 1)
    with warnings.catch_warnings():
        # Its processes start as forks of this one, and never use the engine of the store.
        warnings.filterwarnings("ignore", "lancedb fork support", RuntimeWarning)
        # By this address nobody else can reach it.
        ray.init(num_cpus=num_cpus, _node_ip_address="127.0.0.1", include_dashboard=False, **quiet)


def _shares(device: str) -> dict[str, Any]:
    """Return how many workers there are and what each has: a GPU, or four cores."""
    num_cpus = _total("CPU")
    if device.startswith("cuda"):
        num_gpus = _total("GPU")
        if not num_gpus:
            raise GalleryError("The cluster declares no GPU; leave out --device, or start it so.")
        share = max(1, min(CPUS_PER_WORKER, num_cpus // (2 * num_gpus)))
        return {"num_gpus": 1, "num_cpus": share, "concurrency": num_gpus}
    share = min(CPUS_PER_WORKER, num_cpus // 2)
    return {"num_cpus": share, "concurrency": max(1, (num_cpus - 1) // share)}


def _total(resource: str) -> int:
    return int(ray.cluster_resources().get(resource, 0))


def _reason(error: RayError) -> str:
    """Return what a worker said, in a line."""
    cause = getattr(error, "cause", None)
    lines = [line for line in str(cause or error).splitlines() if line.strip()]
    return lines[-1].strip().rstrip(".") + "." if lines else f"{type(error).__name__}."
