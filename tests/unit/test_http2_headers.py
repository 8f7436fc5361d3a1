"""Header blocks: read as HPACK has it, remembered only as long as they mean the same."""

import pytest

pytest.importorskip("hpack")

from hpack import Decoder, Encoder

from perdure.protocol.http2.errors import COMPRESSION_ERROR, ENHANCE_YOUR_CALM, ProtocolError
from perdure.protocol.http2.headers import Head, HeaderReader, encode

CALL = [(":method", "POST"), (":path", "/s/Rpc"), ("content-type", "application/grpc+proto"), ("taskhub", "Orders")]


def head(*headers: tuple[str, str]) -> Head:
    return HeaderReader().read(Encoder().encode(headers))


def test_a_call_says_what_it_is():
    said = head(*CALL, ("grpc-timeout", "1500m"), ("grpc-encoding", "gzip"))
    assert said == Head("/s/Rpc", is_grpc=True, encoding=b"gzip", timeout=1.5, metadata=(("taskhub", "Orders"),))


def test_what_it_does_not_say_has_a_default():
    assert head((":path", "/")) == Head("/", is_grpc=False, encoding=b"identity", timeout=None, metadata=())
    assert HeaderReader().read(b"") == Head("", is_grpc=False, encoding=b"identity", timeout=None, metadata=())


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("2H", 7200.0), ("3M", 180.0), ("4S", 4.0), ("5m", 0.005), ("6u", 6e-6), ("99999999H", 315_360_000.0)]
    + [(text, None) for text in ("", "S", "-1S", "1", "1x", "1.5S", "999999999S")],
)
def test_deadlines(text: str, seconds: float | None):
    assert head(("grpc-timeout", text)).timeout == pytest.approx(seconds)


def test_metadata_of_bytes_come_without_padding():
    assert head(("trace-bin", "AAE"), ("Trace-Bin", "AAEC"), ("broken-bin", "A")).metadata == (
        ("trace-bin", b"\0\1"),
        ("trace-bin", b"\0\1\2"),
        ("broken-bin", b""),
    )


def test_a_block_that_means_something_else_by_now_is_read_again():
    reader, encoder = HeaderReader(), Encoder()
    encoder.header_table_size = 64  # room for one entry
    reader.read(encoder.encode([("a", "1")]))
    block = encoder.encode([("a", "1")])
    assert block == b"\xbe"
    assert [reader.read(block).metadata for _ in range(2)] == [(("a", "1"),)] * 2
    reader.read(encoder.encode([("b", "2")]))
    assert reader.read(block).metadata == (("b", "2"),)


def test_a_table_that_was_emptied_in_between_is_empty():
    reader, encoder = HeaderReader(), Encoder()
    reader.read(encoder.encode([("a", "1")]))
    assert reader.read(b"\xbe").metadata == (("a", "1"),)
    assert reader.read(b"\x20\x3f\xe1\x1f").metadata == ()  # no room at all, then 4,096 bytes again
    with pytest.raises(ProtocolError) as broken:
        reader.read(b"\xbe")
    assert broken.value.code == COMPRESSION_ERROR


@pytest.mark.parametrize("block", [b"\xff", b"\x80", b"\x40\x05abc", b"\x00\x81\x00\x00", b"\x3f\xff\xff\xff\x7f"])
def test_what_is_no_block_is_refused(block: bytes):
    with pytest.raises(ProtocolError) as broken:
        HeaderReader().read(block)
    assert broken.value.code == COMPRESSION_ERROR


def test_few_bytes_that_stand_for_many_are_refused():
    reader, encoder = HeaderReader(), Encoder()
    reader.read(encoder.encode([("a", "x" * 4000)]))
    with pytest.raises(ProtocolError) as broken:
        reader.read(b"\xbe" * 17)
    assert broken.value.code == ENHANCE_YOUR_CALM


def test_what_is_sent_is_understood_by_everybody_and_remembered_by_nobody():
    headers = ((b":status", b"200"), (b"grpc-message", b"x" * 300))
    decoder = Decoder()
    assert decoder.decode(encode(*headers), raw=True) == list(headers)
    assert not decoder.header_table.dynamic_entries
