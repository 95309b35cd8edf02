"""Prints Stanzalake's events as JSON Lines: a program of your own that reads the topic.

    pip install aiokafka cramjam
    python consumer.py KAFKA:9092 my-group [TOPIC]

The group is yours, so this takes nothing away from the processors, and goes on where it stopped.
"""

import asyncio
import contextlib
import json
import signal
import sys

from aiokafka import AIOKafkaConsumer

KNOWN = {"message", "preferences", "activation", "erasure", "expiry"}
REMEMBERED = 100_000

seen: dict[tuple[str, int], None] = {}


def read(value: bytes) -> dict | None:
    """Give an event that this program understands."""
    try:
        event = json.loads(value)
        known = event["v"] == 1 and event["type"] in KNOWN
    except (ValueError, TypeError, KeyError):
        return None
    return event if known else None


def is_new(event: dict) -> bool:
    """Events come at least once: (owner, position) is what makes one the same as another.

    This remembers the last of them. A database would have the two as its primary key, which holds
    after a restart too.
    """
    identity = event["owner"], event["position"]
    if identity in seen:
        return False
    seen[identity] = None
    if len(seen) > REMEMBERED:
        del seen[next(iter(seen))]
    return True


async def consume(servers: str, group: str, topic: str) -> None:
    """Print events until the task is cancelled."""
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=servers,
        group_id=group,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    await consumer.start()
    try:
        while True:
            for place, records in (await consumer.getmany(timeout_ms=1000)).items():
                for record in records:
                    event = read(record.value)
                    if event is None:
                        # A newer Stanzalake may say more: what is not known is left alone.
                        print(f"skipped {place.partition}/{record.offset}", file=sys.stderr)
                    elif is_new(event):
                        print(json.dumps(event, ensure_ascii=False))
            sys.stdout.flush()
            # Only what is written down is committed: a crash repeats, and loses nothing.
            await consumer.commit()
    finally:
        await consumer.stop()


async def main() -> None:
    """Consume until Ctrl-C or SIGTERM."""
    task = asyncio.current_task()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        servers, group, *topic = sys.argv[1:]
        await consume(servers, group, *topic or ["stanzalake.events"])


asyncio.run(main())
