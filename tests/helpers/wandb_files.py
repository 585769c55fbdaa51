"""Read the files that W&B writes for offline runs."""

import struct
from pathlib import Path

from wandb.proto import wandb_internal_pb2


def offline_records(folder: Path) -> list[wandb_internal_pb2.Record]:
    """Read the records of offline runs: blocks of 32 kB, in which each part of a record has a header of 7 bytes."""
    records = []
    for file in sorted(folder.glob("wandb/offline-run-*/*.wandb")):
        data, at, parts = file.read_bytes(), 7, b""
        while at + 7 <= len(data):
            if 32768 - at % 32768 < 7:
                at += 32768 - at % 32768
                continue
            length, kind = struct.unpack("<HB", data[at + 4 : at + 7])
            parts += data[at + 7 : at + 7 + length]
            at += 7 + length
            if kind in (1, 4):  # a complete record, or the last part of one
                records.append(wandb_internal_pb2.Record.FromString(parts))
                parts = b""
    return records


def logged_keys(records: list[wandb_internal_pb2.Record]) -> set[str]:
    """List the keys that were logged in an offline run."""
    return {item.key or ".".join(item.nested_key) for record in records for item in record.history.item}
