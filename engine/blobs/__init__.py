"""Blobs: content named by its digest, stored once, in packs.

`PackWriter` stores them, `BlobStore` reads them, `verify` checks them. Where each one is, is known
to the blob index, which the journal keeps.
"""

from engine.blobs.compaction import Moved, copy_needed
from engine.blobs.pack import Form, Location, decode_location, encode_location
from engine.blobs.recipe import Recipe
from engine.blobs.store import BlobStore, OpenBlob
from engine.blobs.verification import Verdict, stored_blobs, verify, wrong_content
from engine.blobs.volume import DirectoryVolume, StoredPack, Volume, pack_name
from engine.blobs.writer import RETIRED, Flushed, PackWriter

__all__ = [
    "RETIRED",
    "BlobStore",
    "DirectoryVolume",
    "Flushed",
    "Form",
    "Location",
    "Moved",
    "OpenBlob",
    "PackWriter",
    "Recipe",
    "StoredPack",
    "Verdict",
    "Volume",
    "copy_needed",
    "decode_location",
    "encode_location",
    "pack_name",
    "stored_blobs",
    "verify",
    "wrong_content",
]
