"""`whichbits doctor --cluster`: what a study finds on the nodes of a Ray cluster."""

from __future__ import annotations

import os
from pathlib import Path

from whichbits.core.errors import UserError
from whichbits.engines.doctor import Check
from whichbits.studies.store.place import Place, open_store


def doctor_cluster(address: str | None = None, *, store: Place | None = None) -> list[Check]:
    """Examine each node of the cluster at an address, as a study of this machine would, with a line a node.

    store: a study's, which all must be able to write; default: this folder. Raises UserError where no cluster answers.
    """
    import ray

    from whichbits.studies.execution.ray.checks import check_node, examine, examine_nodes, join

    place = open_store(store or Path())
    found, own = join(address), examine(None)
    checks = []
    try:
        for node, examined in examine_nodes(found, place):
            name = f"node {node.address} ({node.id[:8]})"
            cores = len(os.sched_getaffinity(0))
            try:
                checked = check_node(node, examined, own=own, store=place, cores=cores, serves=True)
            except UserError as error:
                checks.append(Check(name, "fail", error.message, error.remedy))
            else:
                detail = f"{node.cpus:g} processors, {node.gpus:g} GPUs, {checked.hardware}, engine {checked.engine}"
                checks.append(Check(name, "ok", detail))
    finally:
        ray.shutdown()
    return checks
