"""The peers that the benchmark knows."""

from local.bench.loads.target import Contender

PEERS: tuple[Contender, ...] = ()
