"""Which replica a request goes to: one that has computed its beginning, unless that one has much more to do."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

from ray.serve.request_router import PendingRequest, ReplicaID, RequestRouter, RunningReplica

from halflap_ray.beginnings import Holders

SLACK = 8
"""Answers that a replica may have under way beyond the least busy one's, and still be preferred."""


class BeginningsRouter(RequestRouter):
    """Requests carry their beginnings as `keys`; each handle's router knows what went through it."""

    def initialize_state(self, **_: Any) -> None:
        self._holders: Holders[ReplicaID] = Holders()
        self._under_way: Counter[ReplicaID] = Counter()

    async def choose_replicas(
        self, candidate_replicas: Sequence[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        busy = {replica.replica_id: self._under_way[replica.replica_id] for replica in candidate_replicas}
        most = min(busy.values(), default=0) + SLACK
        holders = self._holders.find(_keys(pending_request), busy)

        def rank(replica: RunningReplica) -> tuple[bool, int, float]:
            name = replica.replica_id
            return not (name in holders and busy[name] <= most), busy[name], random.random()

        return [[replica] for replica in sorted(candidate_replicas, key=rank)]

    def on_request_routed(self, pending_request: PendingRequest, replica_id: ReplicaID, result: Any) -> None:
        self._under_way[replica_id] += 1
        self._holders.add(_keys(pending_request), replica_id)

    def on_request_completed(self, replica_id: ReplicaID, internal_request_id: str) -> None:
        self._under_way[replica_id] -= 1
        if self._under_way[replica_id] <= 0:
            del self._under_way[replica_id]


def _keys(request: PendingRequest | None) -> Sequence[bytes]:
    return request.kwargs.get("keys", ()) if request is not None else ()
