"""Blobs: content named by its digest, stored once, in packs.

`BlobStore` reads them, `writer.PackWriter` stores them, `verification.verify` checks them, and
`compaction` leaves out what nobody needs. Where each one is, is known to the blob index, which the
journal keeps. Here is what reading takes: a mount shall not load the rest.
"""

from engine.blobs.directory import DirectoryVolume
from engine.blobs.pack import Form, Location, decode_location, encode_location
from engine.blobs.recipe import Recipe
from engine.blobs.store import BlobStore, OpenBlob
from engine.blobs.volume import StoredPack, Volume, WritableVolume, pack_name

__all__ = [
    "BlobStore",
    "DirectoryVolume",
    "Form",
    "Location",
    "OpenBlob",
    "Recipe",
    "StoredPack",
    "Volume",
    "WritableVolume",
    "decode_location",
    "encode_location",
    "pack_name",
]
