"""Archives and compressions: every member by name, nothing on disk, bombs and oddities end with a reason."""

import bz2
import gzip
import io
import lzma
import os
import tarfile
import zipfile

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from soc.collectors import archives, unpack
from soc.collectors.files import read_blocks
from soc.errors import SocError
from soc.model.clock import FixedClock

CLOCK = FixedClock(1_795_143_600_000_000_000)
LINES = b"".join(b"line %d\n" % i for i in range(1000))
ZSTD = zstandard.ZstdCompressor().compress
PACKERS = {"gzip": gzip.compress, "zstd": ZSTD, "bzip2": bz2.compress, "xz": lzma.compress}


def read(path, **options):
    """Records by the member's name, and what became of each member."""
    found, members = {}, []
    try:
        for block in read_blocks(path, clock=CLOCK, members=members, **options):
            name = block.origin["log.file.path"].removeprefix(str(path))
            found.setdefault(name, []).extend(block.records())
    except SocError as error:
        if not found or "expands" in str(error):
            raise
        assert any(member.state == "failed" for member in members)
    return found, {m.name.removeprefix(str(path)): (m.state, m.format, m.records, m.why) for m in members}


def zipped(files, **options):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def tarred(files, extra=()):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for info in extra:
            archive.addfile(info)
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


@pytest.fixture
def file(tmp_path):
    def write(data, name="upload.bin"):
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    return write


@pytest.mark.parametrize("kind", PACKERS)
def test_compressed_files(file, kind):
    """Told by their first bytes; several in a row are one."""
    pack = PACKERS[kind]
    found, members = read(file(pack(LINES[:100]) + pack(LINES[100:])))
    assert found == {"": LINES.splitlines()}
    assert members == {"": ("read", "lines", 1000, "")}


@pytest.mark.parametrize("kind", [None, *PACKERS])
def test_tar(file, kind):
    """Plain or compressed; each member has numbers and a format of its own, a link is no file."""
    link = tarfile.TarInfo("link")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    files = {"a.log": b"one\ntwo\n", "sub/b.json": b'{"a":1}\n', "../../etc/c.log.gz": gzip.compress(b"x\n")}
    data = tarred(files, [link])
    found, members = read(file(PACKERS[kind](data) if kind else data))
    assert found == {"!a.log": [b"one", b"two"], "!sub/b.json": [b'{"a":1}'], "!../../etc/c.log.gz": [b"x"]}
    assert members["!link"] == ("skipped", "", 0, "a link")
    assert members["!sub/b.json"] == ("read", "json", 1, "")


def test_zip_inside_tar_inside_zip(file):
    """To a bounded depth; names are shown safely."""
    inner = zipped({"deep\x1b[31m.log": b"deep\n"})
    found, _ = read(file(zipped({"m.tar": tarred({"i.zip": inner}), "top.log": b"top\n"})))
    assert found == {"!m.tar!i.zip!deep\\x1b[31m.log": [b"deep"], "!top.log": [b"top"]}
    data = b"bottom\n"
    for _ in range(archives.MAX_DEPTH + 1):
        data = gzip.compress(data)
    with pytest.raises(SocError, match="inside each other"):
        read(file(data))
    found, members = read(file(zipped({"a.gz": data, "b.log": b"b\n"})))
    assert found == {"!b.log": [b"b"]}
    assert members["!a.gz"][0] == "failed"


def test_a_damaged_member_stops_no_other(file):
    """With its reason; an encrypted one too."""
    data = bytearray(zipped({"a.log": LINES, "b.log": LINES, "c.log": b"c\n"}))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        a, b = archive.getinfo("a.log"), archive.getinfo("b.log")
    data[a.header_offset + 60 : a.header_offset + 90] = os.urandom(30)
    at = data.rindex(b"PK\x01\x02", 0, data.rindex(b"b.log"))
    data[at + 8] |= 1
    found, members = read(file(bytes(data)))
    assert found["!c.log"] == [b"c"]
    assert members["!a.log"][0] == members["!b.log"][0] == "failed"
    assert members["!b.log"][3] == "encrypted"
    assert members["!c.log"] == ("read", "lines", 1, "")
    assert b.filename == "b.log"


def test_a_tar_that_ends_early_keeps_what_came_before(file):
    """And says so."""
    found, members = read(file(tarred({"a.log": b"a\n", "b.log": LINES})[:2000]))
    assert found["!a.log"] == [b"a"]
    assert {m[0] for name, m in members.items() if name != "!a.log"} == {"failed"}


def test_bombs_end(file, monkeypatch):
    """Whatever layer makes it large: total, ratio, members, headers."""
    monkeypatch.setattr(unpack, "FREE_BYTES", 1 << 20)
    zeros = bytes(3 << 20)
    for bomb in (
        gzip.compress(zeros), zipped({f"{i}": zeros for i in range(50)}), gzip.compress(tarred({"a": zeros})),
        lzma.compress(zipped({"a.gz": gzip.compress(zeros * 40)})),
    ):  # fmt: skip
        monkeypatch.setattr(unpack, "MAX_EXPANSION", 1)
        with pytest.raises(SocError, match="expands more than"):
            read(file(bomb))
    monkeypatch.setattr(archives, "MAX_MEMBERS", 3)
    found, members = read(file(zipped({f"{i}.log": b"x\n" for i in range(9)})))
    assert len(found) == 3
    assert "more than 3 members" in str(members)
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.XHDTYPE, 2 << 20
    with pytest.raises(SocError, match="a header of 2097152 bytes"):
        read(file(header.tobuf(tarfile.USTAR_FORMAT) + bytes(4 << 20)))


def test_a_directory_beyond_measure_is_not_read(file, monkeypatch):
    """A zip may list millions of members that are not there; the library takes the list into memory first."""
    monkeypatch.setattr(archives, "MAX_DIRECTORY", 4000)
    with pytest.raises(SocError, match=r"a directory of \d+ bytes"):
        read(file(zipped({f"{i}.log": b"" for i in range(100)})))
    assert len(read(file(zipped({f"{i}.log": b"x\n" for i in range(50)})))[0]) == 50


def test_members_whose_headers_lie(file):
    """A map of holes that is no list of numbers, a member without a name: found by fuzzing; what is good comes."""
    info = tarfile.TarInfo("a.log")
    info.size, info.pax_headers = 2, {"GNU.sparse.map": "0,x", "GNU.sparse.size": "9"}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        good = tarfile.TarInfo("good.log")
        good.size = 2
        archive.addfile(good, io.BytesIO(b"a\n"))
        archive.addfile(info, io.BytesIO(b"a\n"))
    found, members = read(file(buffer.getvalue()))
    assert found == {"!good.log": [b"a"]}
    assert any(state == "failed" and "invalid literal" in why for state, _, _, why in members.values())
    nameless = zipped({"a": b"x\n", "b": b"y\n"}).replace(b"\0\0\0aPK", b"\0\0\0\0PK")
    assert read(file(nameless))[0]["!b"] == [b"y"]


def test_a_zip_in_a_stream(file, monkeypatch):
    """Standard input cannot be read from its end; the archive is read first."""
    import sys

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(zipped({"a.log": b"a\n"}))))
    assert [list(b.records()) for b in read_blocks(None, clock=CLOCK)] == [[b"a"]]


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "xz", "zst"])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(data=st.data())
def test_damage_anywhere_ends_with_a_reason(file, kind, data):
    """No crash, no hang: records, members, or one clear error."""
    whole = {
        "zip": zipped({"a.log": LINES[:300], "b.gz": gzip.compress(LINES[:500])}),
        "tar": tarred({"a.log": LINES[:600]}),
        "tar.gz": gzip.compress(tarred({"a.log": LINES[:300]})), "xz": lzma.compress(LINES[:500]),
        "zst": ZSTD(LINES[:500]),
    }[kind]  # fmt: skip
    broken = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
    broken = broken[: data.draw(st.integers(1, len(broken)))]
    try:
        _, members = read(file(bytes(broken)))
    except SocError:
        return
    assert all(state == "read" or why for state, _, _, why in members.values())
