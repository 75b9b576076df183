"""What is shared by the tests of this room: see ``support/records.py``."""

from support.records import noisy_records, record_of

__all__ = ["noisy_records", "record_of"]
