"""Embedding on a cluster: Ray Data distributes files, each worker embeds them like one machine.

The main program writes the index: it commits the results of the workers, so that an interrupted run
resumes at its last commit, and the loss of a worker costs the files of its current batch. Pictures
and kit must have the same path on every machine.
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

FILES_AT_ONCE = 512  # batch of a worker: a few seconds of work
LEAST_CPUS = 4  # with fewer, Ray Data waits for ever
CPUS_PER_WORKER = 4


class ClusterEmbedder:
    """Embedder on the cluster at RAY_ADDRESS, or with workers on this machine."""

    def __init__(
        self,
        source: str | Path,
        gallery_hash: str,
        *,
        device: str = "cpu",
        options: EmbedOptions = DEFAULT_EMBED_OPTIONS,
        files_at_once: int = FILES_AT_ONCE,
    ) -> None:
        """Join the cluster, or start workers on this machine.

        Args:
            source: Backbone, as `Backbone.load` accepts it on every machine.
            gallery_hash: Hash of the backbone; a worker with another backbone fails.
            device: "cuda" assigns a GPU to every worker.
            options: Options as for one machine.
            files_at_once: Files per batch of a worker.

        Raises:
            GalleryError: The cluster has too few CPUs, so Ray Data would wait for ever.
        """
        start()
        self._worker: dict[str, Any] = {
            "source": source, "gallery_hash": gallery_hash, "device": device, "options": options
        }  # fmt: skip
        self._files_at_once = files_at_once

    def embed(self, files: Sequence[Candidate], known_ids: Collection[str]) -> Iterator[Result]:
        """Yield the result of each file, in order.

        Copies of a file in the batches of two workers are both embedded.

        Raises:
            GalleryError: The cluster fails, or a worker has another encoder.
        """
        if not files:
            return
        try:
            ids = ray.put(np.sort(np.array([*known_ids], "S32")))
            results = self._dataset(files).map_batches(
                _Worker,
                batch_size=self._files_at_once,
                batch_format="pyarrow",
                fn_constructor_kwargs=self._worker | {"known_ids": ids},
                **_shares(self._worker["device"]),
            )
            for rows in results.iter_batches(batch_size=None, batch_format="pyarrow"):
                yield from results_of(rows, files)
        except RayError as error:
            raise GalleryError(
                f"The cluster has stopped embedding: {_reason(error)} What was committed is kept; "
                "run the command again to continue."
            ) from error

    def _dataset(self, files: Sequence[Candidate]) -> ray.data.Dataset:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.execution_options.preserve_order = True  # of two copies, the first by name is kept
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        rows = rows_of_candidates(files)
        blocks = [
            rows.slice(start, self._files_at_once)
            for start in range(0, len(files), self._files_at_once)
        ]
        return ray.data.from_arrow(blocks)


class _Worker:
    """Worker process: the local embedder, applied to batches of files."""

    def __init__(
        self,
        source: str | Path,
        gallery_hash: str,
        device: str,
        options: EmbedOptions,
        known_ids: "ray.ObjectRef[Shaped[np.ndarray, ' n']]",
    ) -> None:
        torch.set_num_threads(CPUS_PER_WORKER)
        backbone = Backbone.load(source, device=device)
        if backbone.gallery_hash != gallery_hash:
            raise GalleryError(
                f"The encoder {source} of a worker must be {gallery_hash}, got "
                f"{backbone.gallery_hash}; every machine needs the same kit."
            )
        self._embedder = LocalEmbedder(backbone, options)
        self._known_ids = {id_.decode() for id_ in ray.get(known_ids)}

    def __call__(self, rows: pa.Table) -> pa.Table:
        return rows_of_results(self._embedder.embed(candidates_of(rows), self._known_ids), rows)


def start() -> None:
    """Join the cluster, or start workers on this machine.

    Raises:
        GalleryError: The cluster does not answer, or has too few CPUs, so that Ray Data would wait
            for ever.
    """
    if not ray.is_initialized():
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no telemetry
        # 2026-11: the way in which Ray Data starts workers causes a warning at each start.
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        if address := os.environ.get("RAY_ADDRESS"):
            try:
                _check_port(address)
                ray.init(**quiet)
            except (OSError, RuntimeError, ValueError) as error:
                raise GalleryError(
                    f"The cluster {address} does not answer; check RAY_ADDRESS and ray status."
                ) from error
        else:
            _start_workers(**quiet)
    num_cpus = _total("CPU")
    if num_cpus < LEAST_CPUS:
        raise GalleryError(
            f"The cluster must declare {LEAST_CPUS} CPUs or more, got {num_cpus}. Start it with: "
            f"ray start --head --num-cpus={LEAST_CPUS}"
        )


def _check_port(address: str) -> None:
    """Fail within seconds if HOST:PORT does not accept connections; Ray would take minutes."""
    host, _, port = address.rpartition("/")[2].rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=10).close()


def _start_workers(**quiet: Any) -> None:  # noqa: ANN401  arguments of `ray.init`
    num_cpus = max(LEAST_CPUS, os.cpu_count() or 1)
    with warnings.catch_warnings():
        # Its processes are forks of this one; they never use the engine of the store.
        warnings.filterwarnings("ignore", "lancedb fork support", RuntimeWarning)
        # No other machine can reach it at this address.
        ray.init(num_cpus=num_cpus, _node_ip_address="127.0.0.1", include_dashboard=False, **quiet)


def _shares(device: str) -> dict[str, Any]:
    """Return the number of workers and the resources of each: a GPU, or four cores."""
    num_cpus = _total("CPU")
    if device.startswith("cuda"):
        num_gpus = _total("GPU")
        if not num_gpus:
            raise GalleryError(
                "The cluster declares no GPU; omit --device, or start the cluster with GPUs."
            )
        share = max(1, min(CPUS_PER_WORKER, num_cpus // (2 * num_gpus)))
        return {"num_gpus": 1, "num_cpus": share, "concurrency": num_gpus}
    share = min(CPUS_PER_WORKER, num_cpus // 2)
    return {"num_cpus": share, "concurrency": max(1, (num_cpus - 1) // share)}


def _total(resource: str) -> int:
    return int(ray.cluster_resources().get(resource, 0))


def _reason(error: RayError) -> str:
    """Return the last line of a worker's error."""
    cause = getattr(error, "cause", None)
    lines = [line for line in str(cause or error).splitlines() if line.strip()]
    return lines[-1].strip().rstrip(".") + "." if lines else f"{type(error).__name__}."
