"""A deployment whose Kafka has several brokers, each of which has all of it."""

import asyncio
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient

from devstack.deployment import Distributed
from devstack.kafka import Kafka
from devstack.ports import free_port

_NUMBER = 3


class Replicated(Distributed):
    """The distributed deployment with three brokers, one of which may be away.

    Attributes:
        brokers: By their numbers.
    """

    def __init__(self, directory: Path, settings: dict[str, str]) -> None:
        ports = {node: free_port() for node in range(1, _NUMBER + 1)}
        self.brokers = {
            node: Kafka(
                directory=directory / f"kafka-{node}",
                node=node,
                cluster=ports,
                controller_port=port,
            )
            for node, port in ports.items()
        }
        self.addresses = [broker.address for broker in self.brokers.values()]
        shared = {
            "STANZALAKE_KAFKA_BOOTSTRAP_SERVERS": ",".join(self.addresses),
            "STANZALAKE_KAFKA_REPLICATION": str(_NUMBER),
        }
        super().__init__(directory, settings={**shared, **settings})
        self.kafka = self.brokers[1]

    async def prepare(self) -> None:
        """Start the brokers together: one alone is no majority."""
        others = (b.start() for b in self.brokers.values() if b is not self.kafka)
        await asyncio.gather(super().prepare(), *others)

    async def stop(self) -> None:
        """Stop everything, the brokers last."""
        await super().stop()
        await asyncio.gather(*(broker.stop() for broker in self.brokers.values()))

    async def coordinator(self, group: str) -> int:
        """Give the number of the broker that coordinates a group."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.addresses)
        try:
            await admin.start()
            return await admin.find_coordinator(group)
        finally:
            await admin.close()
