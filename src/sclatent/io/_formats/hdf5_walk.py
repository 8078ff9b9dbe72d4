"""Walk through HDF5 files, as a program of its own: `python hdf5_walk.py`.

A damaged file can make the HDF5 library search without an end, or crash it, and nothing in the same process can stop
that. So it happens here first. What merely raises is left to the reader, which says it better; but a group whose list
cannot be read is told, since to search in it can be endless.

A line of the input asks for a walk: seconds of CPU, a space, and the path in hexadecimal. The output names what is
being read, a line each, and ends with a zero byte and how the walk ended: 0, UNLISTED, or minus the number of a signal.
Each walk is a fork, which costs little. The program ends by itself a little after the last walk.
"""

import contextlib
import os
import resource
import select
from pathlib import Path

import h5py

UNLISTED = 3
IDLE = 2.0
"""Seconds to wait for the next path."""
OBJECTS = 20_000
"""Groups and arrays that are looked at, those nearest to the root first."""
WHOLE = 1 << 26
"""Bytes of all arrays of numbers that are read whole; of those after them the list of chunks is read, and two ends."""
RATIO = 2000
"""An array that claims more bytes than this many times what it takes on disk is not read: the reader refuses it."""
MEMORY = 1 << 30
"""Bytes that may be asked for beyond what the program has when it starts: a damaged text may claim any length."""
ROWS = 1 << 16


def main() -> None:
    """Walk through files as long as there are some."""
    asked = b""
    while select.select([0], [], [], IDLE)[0] and (more := os.read(0, 1 << 16)):
        *lines, asked = (asked + more).split(b"\n")
        for line in lines:
            seconds, path = line.decode().split(" ")
            child = os.fork()
            if child == 0:
                os._exit(walk_within(os.fsdecode(bytes.fromhex(path)), int(seconds)))
            ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            os.write(1, f"\0{ended}\n".encode())


def walk_within(path: str, seconds: int) -> int:
    """Walk through one file, for at most so many seconds of CPU; return 0 or UNLISTED."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    lower(resource.RLIMIT_CPU, seconds)
    with contextlib.suppress(OSError):  # where the system has such a list
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        lower(resource.RLIMIT_AS, pages * resource.getpagesize() + MEMORY)
    file = tried(h5py.File, path, "r")
    return 0 if file is None else walk(file)


def lower(which: int, limit: int) -> None:
    """Set a limit, unless there is a lower one."""
    soft, hard = resource.getrlimit(which)
    known = [value for value in (soft, hard, limit) if value != resource.RLIM_INFINITY]
    resource.setrlimit(which, (min(known), hard))


def walk(file: h5py.File) -> int:
    """Ask every group and array for all that a reader asks them for."""
    waiting, seen, left = ["/"], set(), WHOLE
    for name in waiting:  # grows as it goes
        os.write(1, f"{name.encode('unicode_escape').decode()}\n".encode())
        node = tried(file.__getitem__, name)
        about = None if node is None else tried(h5py.h5o.get_info, node.id)
        if node is None or (about is not None and about.addr in seen):
            continue
        seen.add(about and about.addr)
        tried(attributes, node)
        if isinstance(node, h5py.Dataset):
            left -= tried(array, node, left) or 0
        elif isinstance(node, h5py.Group):
            names = tried(list, node)
            if names is None:
                return UNLISTED
            links = [(key, tried(lambda node, key: node.get(key, getlink=True), node, key)) for key in names]
            inside = [key for key, link in links if isinstance(link, h5py.HardLink | h5py.SoftLink)]
            waiting += [f"{name.rstrip('/')}/{key}" for key in inside[: max(0, OBJECTS - len(waiting))]]
    return 0


def tried(do, *arguments):  # type: ignore[no-untyped-def]
    """Return a result, or nothing where the library says that something is wrong: the reader will say it."""
    try:
        return do(*arguments)
    except Exception:
        return None


def attributes(node: h5py.HLObject) -> None:
    """Read all attributes."""
    for key in node.attrs:
        tried(node.attrs.__getitem__, key)


def array(node: h5py.Dataset, left: int) -> int:
    """Read the list of chunks, and the values, or two of them if there are more bytes than are left; return the bytes.

    Texts are read all: they lie in heaps, in which the library searches.
    """
    size, stored = (node.size or 0) * node.dtype.itemsize, node.id.get_storage_size()
    if node.chunks is not None:
        node.id.chunk_iter(lambda chunk: None)
    if size == 0 or (size > WHOLE and size > RATIO * stored):
        return 0
    if node.shape == ():
        tried(node.__getitem__, ())
    elif node.dtype.hasobject or size <= left:
        rows = max(1, ROWS // max(1, node.size // len(node)))
        for start in range(0, len(node), rows):
            tried(node.__getitem__, slice(start, start + rows))
        return 0 if node.dtype.hasobject else size
    else:
        tried(node.__getitem__, 0)
        tried(node.__getitem__, len(node) - 1)
    return 0


if __name__ == "__main__":
    main()
